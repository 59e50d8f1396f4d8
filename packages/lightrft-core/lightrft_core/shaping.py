"""What is done to a reward between the judge and the advantage. Pure functions."""

from __future__ import annotations

from dataclasses import replace

from lightrft_core.types import FinishReason, Verdict


def stop_properly(verdict: Verdict, finish_reason: FinishReason, coefficient: float) -> Verdict:
    """Pay an answer that was cut off less: the stop-properly penalty of ProRL v2 (NVIDIA 2025).

    coefficient: 0 to 1 multiplies what the answer earned, so that at 0 only one that came to its end can earn; a score
    below zero stays. A negative coefficient replaces the score. Accuracy stays what the judge said.
    """
    if verdict.score is None or finish_reason is FinishReason.STOP:
        return verdict
    paid = min(verdict.score, verdict.score * coefficient)
    return replace(verdict, score=paid if coefficient >= 0 else coefficient)
