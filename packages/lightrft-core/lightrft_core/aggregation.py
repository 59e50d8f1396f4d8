"""How per-token terms become one number: each mode is a weight per token, with the denominator of the whole step.

The loss of an optimiser step is sum(weight * term) over every token on every rank. The weights are fixed once, before
the step is cut into micro-batches, so neither loss nor gradient can depend on micro-batch size, padding or ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Aggregation(StrEnum):
    """N sequences, the i-th of |o_i| tokens."""

    TOKEN_MEAN = "token-mean"
    """1 / sum |o_i|: every token counts the same (DAPO, arXiv 2503.14476, eq. 8)."""
    SEQ_MEAN_TOKEN_MEAN = "seq-mean-token-mean"
    """1 / (N |o_i|): every answer counts the same (GRPO, arXiv 2402.03300, eq. 3)."""
    SEQ_MEAN_TOKEN_SUM = "seq-mean-token-sum"
    """1 / N: a sequence's terms are added up."""
    CONSTANT_LENGTH = "constant-length"
    """1 / (N L), L the generation budget: no length bias (Dr.GRPO, arXiv 2503.20783)."""


@dataclass(frozen=True)
class StepTotals:
    """What one optimiser step holds over all ranks, sequences without signal included."""

    sequences: float
    tokens: float


def token_weight(mode: Aggregation, length: int, totals: StepTotals, max_new_tokens: int) -> float:
    """The weight of each token of a sequence with `length` loss tokens."""
    match mode:
        case Aggregation.TOKEN_MEAN:
            return 1 / totals.tokens
        case Aggregation.SEQ_MEAN_TOKEN_MEAN:
            return 1 / (totals.sequences * length)
        case Aggregation.SEQ_MEAN_TOKEN_SUM:
            return 1 / totals.sequences
        case Aggregation.CONSTANT_LENGTH:
            return 1 / (totals.sequences * max_new_tokens)
