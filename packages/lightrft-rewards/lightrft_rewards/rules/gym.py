"""Reasoning Gym: each task brings its own scorer (Stojanovski et al. 2025, arXiv 2505.24760)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lightrft_rewards.errors import LabelError
from lightrft_rewards.rules.tags import answer_of


def reasoning_gym(response: str, label: Any) -> float:
    """The score, 0 to 1, that the task's own scorer gives the response's <answer> (or the whole response without one).

    A scorer that cannot even read the answer (ValueError) means a wrong answer.
    label: {"task": a Reasoning Gym data set, "entry": the entry it produced}. Raises LabelError for any other, or for
    an unknown task, and ImportError if the package is missing.
    """
    if (
        not isinstance(label, dict)
        or not isinstance(label.get("task"), str)
        or not isinstance(label.get("entry"), dict)
    ):
        raise LabelError(
            'rule reasoning_gym needs a label such as {"task": "chain_sum", "entry": {...}}; '
            f"this label is {label!r:.200}"
        )
    scorer = _scorer(label["task"])
    try:
        return float(scorer(answer_of(response), label["entry"]))
    except ValueError:
        return 0.0


def prepare_reasoning_gym() -> None:
    """Import the package, so that no sample's deadline pays for it. Raises ImportError if it is missing."""
    try:
        import reasoning_gym  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "rule reasoning_gym needs the package reasoning-gym; "
            "install it with: pip install 'lightrft-rewards[reasoning-gym]'"
        ) from error


@lru_cache
def _scorer(task: str) -> Callable[[str, dict[str, Any]], float]:
    prepare_reasoning_gym()
    from reasoning_gym.factory import DATASETS, get_score_answer_fn

    if task not in DATASETS:
        raise LabelError(f"rule reasoning_gym knows no task {task!r}; the label must name a Reasoning Gym data set")
    scorer: Callable[[str, dict[str, Any]], float] = get_score_answer_fn(task)
    return scorer
