"""All that is measured of a judge, by head and by source, as one file of JSON holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import fsum
from typing import Any

from lightrft_rewards.evaluation.agreement import Agreement, ThreeWay, agreement, three_way
from lightrft_rewards.evaluation.calibration import Calibration, calibration
from lightrft_rewards.evaluation.grades import Grading, Ranking, grading, ranking
from lightrft_rewards.evaluation.judged import JudgedComparison, decided_pairs
from lightrft_rewards.evaluation.length_bias import LengthBias, length_bias
from lightrft_rewards.evaluation.position_bias import PositionBias, position_bias
from lightrft_rewards.evaluation.refusals import Refusals, refusals
from lightrft_rewards.evaluation.spread import Spread, spread_of

SAFE_HEAD = "safe"
"""The head whose scores say whether an answer is safe."""


@dataclass(frozen=True)
class Measures:
    """A judge in one head; what the data do not tell is None. failed: comparisons it could not judge. margins: of the
    pairs people found unequal, the better answer's score less the worse one's. scores: of all answers."""

    comparisons: int
    failed: int
    agreement: Agreement
    three_way: ThreeWay | None
    calibration: Calibration | None
    margins: Spread | None
    scores: Spread | None
    length: LengthBias | None
    position: PositionBias | None
    refusals: Refusals | None
    ranking: Ranking | None
    grading: Grading | None


def measure(
    judged: Sequence[JudgedComparison],
    *,
    tie_threshold: float | None = None,
    safe_threshold: float | None = None,
    log_odds: bool = True,
) -> Measures:
    """Of comparisons in one head.

    tie_threshold: as in three_way; a generative judge, which says so itself, needs none.
    safe_threshold: as in refusals. log_odds: whether margins mean how sure the judge is; without, no calibration.
    """
    asked = any(comparison.askings for comparison in judged)
    ties = three_way(judged, 0.0 if asked else tie_threshold)
    return Measures(
        comparisons=len(judged),
        failed=sum(bool(comparison.error) for comparison in judged),
        agreement=agreement(judged),
        three_way=ties if ties.label_ties else None,
        calibration=calibration(judged) if log_odds else None,
        margins=spread_of([pair.margin for comparison in judged for pair in decided_pairs(comparison)]),
        scores=spread_of([score for comparison in judged for score in comparison.scores]),
        length=length_bias(judged),
        position=position_bias(judged),
        refusals=refusals(judged, safe_threshold),
        ranking=ranking(judged),
        grading=grading(judged),
    )


def measure_all(
    judged: Sequence[JudgedComparison],
    *,
    tie_threshold: float | None = None,
    safe_threshold: float | None = None,
    log_odds: bool = True,
) -> dict[str, Any]:
    """{head: {"all": Measures of all its comparisons, "sources": {source: Measures}, "mean_over_sources": accuracy}}.

    safe_threshold: used for the head `safe` alone. The rest is as in measure.
    """
    heads: dict[str, dict[str, list[JudgedComparison]]] = {}
    for comparison in judged:
        heads.setdefault(comparison.head, {}).setdefault(comparison.source, []).append(comparison)

    def measured(head: str, part: Sequence[JudgedComparison]) -> Measures:
        safe = safe_threshold if head == SAFE_HEAD else None
        return measure(part, tie_threshold=tie_threshold, safe_threshold=safe, log_odds=log_odds)

    found = {}
    for head, sources in heads.items():
        by_source = {source: measured(head, part) for source, part in sources.items()}
        shares = [m.agreement.accuracy.value for m in by_source.values() if m.agreement.accuracy]
        found[head] = {
            "all": asdict(measured(head, [comparison for part in sources.values() for comparison in part])),
            "sources": {source: asdict(measures) for source, measures in by_source.items()},
            "mean_over_sources": fsum(shares) / len(shares) if shares else None,
        }
    return found
