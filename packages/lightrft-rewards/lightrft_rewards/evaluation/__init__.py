"""How good a judge is, measured on comparisons whose outcome is known. The standard library is all it needs."""

from lightrft_rewards.evaluation.agreement import Agreement, ThreeWay, agreement, area, best_threshold, three_way
from lightrft_rewards.evaluation.calibration import Bin, Calibration, calibration, reliability
from lightrft_rewards.evaluation.correlation import kendall, pearson, ranks, spearman
from lightrft_rewards.evaluation.grades import Grading, Ranking, grading, ranking
from lightrft_rewards.evaluation.judged import Asking, JudgedComparison, Pair, all_pairs, decided_pairs
from lightrft_rewards.evaluation.length_bias import LengthBias, length_bias
from lightrft_rewards.evaluation.measures import Measures, measure, measure_all
from lightrft_rewards.evaluation.over_optimisation import OverOptimisation, over_optimisation
from lightrft_rewards.evaluation.position_bias import PositionBias, position_bias
from lightrft_rewards.evaluation.refusals import Refusals, declines, refusals
from lightrft_rewards.evaluation.shares import Share, share_of, wilson
from lightrft_rewards.evaluation.spread import Spread, spread_of

__all__ = [
    "Agreement",
    "Asking",
    "Bin",
    "Calibration",
    "Grading",
    "JudgedComparison",
    "LengthBias",
    "Measures",
    "OverOptimisation",
    "Pair",
    "PositionBias",
    "Ranking",
    "Refusals",
    "Share",
    "Spread",
    "ThreeWay",
    "agreement",
    "all_pairs",
    "area",
    "best_threshold",
    "calibration",
    "decided_pairs",
    "declines",
    "grading",
    "kendall",
    "length_bias",
    "measure",
    "measure_all",
    "over_optimisation",
    "pearson",
    "position_bias",
    "ranking",
    "ranks",
    "refusals",
    "reliability",
    "share_of",
    "spearman",
    "spread_of",
    "three_way",
    "wilson",
]
