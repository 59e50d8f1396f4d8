"""Which models and services judge answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class JudgesArgs:
    """Reward models"""

    reward_pretrain: str | None = None
    """reward models, scalar or writing judges: a folder or hub name, called rm in rule_reward; or helpful=A,safe=B"""
    reward_max_len: int | None = None
    """longest prompt with its answer, in tokens, that reward models read; more is an error; default: as trained"""
    reward_token_budget: int = 16384
    """upper bound on tokens that a scalar reward model reads at once, padding included"""
    rm_use_engine: bool = False
    """let judges that write sample through vLLM, in this process; default: the embedded engine"""
    judge_opponents: int = 4
    """judges that compare: how many other answers to its prompt each answer is compared with, in both orders"""
    judge_samples: int = 1
    """judges that grade: grades of each answer, whose mean counts"""
    judge_temperature: float = 0.0
    """temperature of written judgements; 0: greedy"""
    remote_rm_url: str | None = None
    """a reward service, called remote in rule_reward: its URL, or those of several alike, separated by commas"""
    remote_rm_dialect: Literal["auto", "native", "openrlhf", "lightrft"] = "auto"
    """what the service speaks: lightrft serve-reward's own schema, OpenRLHF's or the first LightRFT's"""
    remote_rm_key_env: str | None = None
    """environment variable that holds the service's token"""
    llm_judge_url: str | None = None
    """an LLM that grades, called llm in rule_reward: a URL of OpenAI's chat API, or several alike, with commas"""
    llm_judge_model: str | None = None
    """what the LLM is called there"""
    llm_judge_prompt: str | None = None
    """file with the question to the LLM, with {response}, {prompt} and {label}; default: grade the answer 0 to 10"""
    llm_judge_key_env: str | None = None
    """environment variable that holds the LLM's API key"""
    judge_timeout: float = 120.0
    """seconds that a service or an LLM that can be reached has to judge one answer, retries included"""
    reward_gates: str | None = None
    """parts that hold an answer back: rm.safe>=0:-1 lets an answer whose rm.safe is below 0 score -1 at most"""
