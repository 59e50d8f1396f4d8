"""Reward models and services that judge a run's answers, each a Scorer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lightrft_apps.config import ConfigError, JudgesArgs
from lightrft_apps.rewards.reward_models import Opening, open_reward_model
from lightrft_rewards.judge_prompt import Question
from lightrft_rewards.llm_judge import LLMJudge
from lightrft_rewards.models.fingerprint import weights_digest
from lightrft_rewards.models.judges import GenerativeScorer
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_rewards.scorer import Scorer
from lightrft_rewards.service.client import RemoteScorer


@dataclass(frozen=True)
class JudgingModel:
    """A reward model of this process. parts: what it gives, by name. module: its weights, wherever they lie; None: an
    engine holds them."""

    scorer: Scorer
    parts: tuple[str, ...]
    module: nn.Module | None


def load_judge(
    name: str,
    folder: str,
    judges: JudgesArgs,
    engines: ExitStack,
    *,
    dtype: torch.dtype,
    media: Mapping[str, int],
    trust_remote_code: bool,
) -> JudgingModel:
    """A reward model from its folder: one with a judge.json writes judgements, any other gives scores.

    engines: ends the engine that a judge has. media: the most that a prompt has of each modality. trust_remote_code:
    let its repository run its own code.
    Raises ConfigError if it cannot be loaded.
    """
    how = Opening(
        dtype=dtype,
        max_len=judges.reward_max_len,
        token_budget=judges.reward_token_budget,
        engine_type="vllm" if judges.rm_use_engine else "embedded",
        media=media,
        trust_remote_code=trust_remote_code,
    )
    opened = open_reward_model(name, folder, how, engines)
    if isinstance(opened, ModelScorer):
        return JudgingModel(opened, opened.parts, opened.module)
    scorer = GenerativeScorer(
        opened.engine,
        opened.writer,
        name=name,
        opponents=judges.judge_opponents,
        samples=judges.judge_samples,
        temperature=judges.judge_temperature,
        identity=weights_digest(opened.model),
    )
    return JudgingModel(scorer, scorer.parts, None if judges.rm_use_engine else opened.model)


def remote(judges: JudgesArgs, urls: str) -> Scorer:
    """A reward service. Raises ConfigError for a token that is not there."""
    return RemoteScorer(
        _listed(urls),
        name="remote",
        dialect=judges.remote_rm_dialect,
        timeout=judges.judge_timeout,
        key_env=_known("remote_rm_key_env", judges.remote_rm_key_env),
    )


def llm(judges: JudgesArgs, urls: str) -> Scorer:
    """An LLM that grades. Raises ConfigError for a key, RewardSetupError for a question that is none."""
    file = judges.llm_judge_prompt
    return LLMJudge(
        _listed(urls),
        model=judges.llm_judge_model or "",
        question=None if file is None else Question(Path(file).expanduser().read_text(encoding="utf-8")),
        name="llm",
        timeout=judges.judge_timeout,
        key_env=_known("llm_judge_key_env", judges.llm_judge_key_env),
    )


def _listed(urls: str) -> list[str]:
    return [url.strip() for url in urls.split(",")]


def _known(flag: str, variable: str | None) -> str | None:
    if variable is not None and not os.environ.get(variable):
        raise ConfigError([f"--{flag} {variable}: there is no such environment variable, or it is empty"])
    return variable
