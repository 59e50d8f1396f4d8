"""Per-token terms of one optimiser step to one number. All answers of the step at once: no ranks, no micro-batches.

`terms` holds one list per answer that counts (judging did not fail). A step without answers comes to 0.
"""

from __future__ import annotations

from collections.abc import Callable

Terms = list[list[complex]]


def token_mean(terms: Terms, max_length: int) -> complex:
    """sum of all terms / number of all tokens (DAPO, 2503.14476 eq. 8)."""
    tokens = sum(len(answer) for answer in terms)
    return sum((sum(answer, 0j) for answer in terms), 0j) / tokens if tokens else 0j


def sequence_mean_token_mean(terms: Terms, max_length: int) -> complex:
    """1/N sum_i 1/|o_i| sum_t (GRPO, 2402.03300 eq. 3)."""
    return sum((sum(answer, 0j) / len(answer) for answer in terms), 0j) / len(terms) if terms else 0j


def sequence_mean_token_sum(terms: Terms, max_length: int) -> complex:
    """1/N sum_i sum_t (REINFORCE on whole answers, 2402.14740)."""
    return sum((sum(answer, 0j) for answer in terms), 0j) / len(terms) if terms else 0j


def constant_length(terms: Terms, max_length: int) -> complex:
    """1/(N L_max) sum_i sum_t, L_max the generation budget (Dr.GRPO, 2503.20783)."""
    return sequence_mean_token_sum(terms, max_length) / max_length


AGGREGATIONS: dict[str, Callable[[Terms, int], complex]] = {
    "token_mean": token_mean,
    "sequence_mean_token_mean": sequence_mean_token_mean,
    "sequence_mean_token_sum": sequence_mean_token_sum,
    "constant_length": constant_length,
}
