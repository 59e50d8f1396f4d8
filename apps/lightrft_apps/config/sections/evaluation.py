"""How progress is measured on what is held out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationArgs:
    """Evaluation"""

    eval_split: str = "test"
    """split of the evaluation data"""
    eval_steps: int = -1
    """evaluate every so many steps; -1: only before and after"""
    eval_max_samples: int | None = None
    """use only the first so many rows of each evaluation source; default: all"""


@dataclass(frozen=True)
class HeldOutArgs(EvaluationArgs):
    """Evaluation"""

    eval_dataset: str | None = None
    """rows held out, named and written as those to learn from; default: no evaluation"""


@dataclass(frozen=True)
class EvalArgs(HeldOutArgs):
    """Evaluation"""

    eval_dataset: str | None = None
    """prompts held out, given as prompt_data is; default: no evaluation"""
    eval_temperature: float = 0.0
    """temperature of evaluation answers; 0: greedy"""
    eval_n_samples_per_prompt: int = 1
    """samples per evaluation prompt"""
    eval_generate_max_len: int | None = None
    """longest evaluation answer, in tokens; default: generate_max_len"""
