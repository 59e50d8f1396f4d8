"""Whether a judge that sees two answers at once likes one for its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightrft_rewards.evaluation.judged import Asking, JudgedComparison, decided_places
from lightrft_rewards.evaluation.shares import Share, share_of


@dataclass(frozen=True)
class PositionBias:
    """Of a judge asked about both orders of two answers.

    chooses_first: share of the askings that ended with a preference in which place 1 was preferred; 1/2 without bias.
    consistent: share of comparisons of which it says the same about both orders; one with a failed asking is not.
    agreeing: share of comparisons with unequal labels of which it says about both orders what people say.
    accuracy_first, accuracy_second: share of askings with the better answer at that place that name it.
    ties, failed: askings that ended in a tie, and in no judgement.
    """

    chooses_first: Share | None
    consistent: Share | None
    agreeing: Share | None
    accuracy_first: Share | None
    accuracy_second: Share | None
    askings: int
    ties: int
    failed: int


def position_bias(judged: Sequence[JudgedComparison]) -> PositionBias | None:
    """Of comparisons in one head; None where none was asked about with both answers in sight."""
    asked = [comparison for comparison in judged if comparison.askings]
    if not asked:
        return None
    askings = [asking for comparison in asked for asking in comparison.askings]
    preferred = [asking for asking in askings if asking.chosen is not None]
    decided = [(comparison, better) for comparison in asked for better, _ in decided_places(comparison)]
    by_place = [
        (asking.first == better, asking.chosen == better)
        for comparison, better in decided
        for asking in comparison.askings
    ]
    return PositionBias(
        chooses_first=share_of([float(asking.chosen == asking.first) for asking in preferred]),
        consistent=share_of([float(_consistent(comparison.askings)) for comparison in asked if _swapped(comparison)]),
        agreeing=share_of(
            [
                float(all(asking.chosen == better for asking in comparison.askings))
                for comparison, better in decided
                if _swapped(comparison)
            ]
        ),
        accuracy_first=share_of([float(named) for first, named in by_place if first]),
        accuracy_second=share_of([float(named) for first, named in by_place if not first]),
        askings=len(askings),
        ties=sum(asking.chosen is None and not asking.error for asking in askings),
        failed=sum(bool(asking.error) for asking in askings),
    )


def _swapped(comparison: JudgedComparison) -> bool:
    return {asking.first for asking in comparison.askings} == {0, 1}


def _consistent(askings: Sequence[Asking]) -> bool:
    return not any(asking.error for asking in askings) and len({asking.chosen for asking in askings}) == 1
