"""Held-out accuracy with an interval: greedy, or pass@k from n samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, inf, sqrt

from lightrft_core.protocols import Engine, Ranks, Reward
from lightrft_core.ranks import OneRank, share
from lightrft_core.rollout_metrics import correct, verdict
from lightrft_core.sampling import SamplingParams
from lightrft_core.types import FinishReason, Group, Prompt

Z = 1.959963984540054
"""How many standard errors a 95% interval reaches to either side: the normal distribution's 97.5% quantile."""


@dataclass(frozen=True)
class Estimate:
    """A share estimated from n problems, with its 95% confidence interval."""

    value: float
    n: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """accuracy: mean over prompts of the share of right answers; pass_at_k: k -> share solved by k answers."""

    accuracy: Estimate
    pass_at_k: dict[int, Estimate]
    length_mean: float
    truncated_share: float
    failed: int
    groups: list[Group]

    def metrics(self) -> dict[str, float]:
        """The eval/* entries of a metrics line."""
        passes = {f"eval/pass@{k}": estimate.value for k, estimate in self.pass_at_k.items()}
        return passes | {
            "eval/accuracy": self.accuracy.value,
            "eval/length_mean": self.length_mean,
            "eval/truncated_share": self.truncated_share,
            "eval/failed": float(self.failed),
        }


def evaluate(
    engine: Engine,
    reward: Reward,
    prompts: Sequence[Prompt],
    sampling: SamplingParams,
    ranks: Ranks | None = None,
    *,
    step: int,
) -> Evaluation:
    """Answer and judge every prompt. An answer that failed, or whose judging did, is failed and not solved.

    ranks: among whom the prompts are dealt; None: there is one.
    """
    ranks = ranks or OneRank()
    groups = engine.generate(share(prompts, ranks), sampling, step=step)
    for group, verdicts in zip(groups, reward.score(groups, step=step), strict=True):
        for rollout, judgement in zip(group.rollouts, verdicts, strict=True):
            rollout.verdict = judgement
    groups = ranks.gather(groups)
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    solved = [sum(map(correct, group.rollouts)) for group in groups]
    powers = [k for k in (2**i for i in range(sampling.n.bit_length())) if k <= sampling.n]
    passes = {k: estimate_of([pass_at_k(sampling.n, c, k) for c in solved], sampling.n // k) for k in powers}
    return Evaluation(
        accuracy=estimate_of([c / sampling.n for c in solved], sampling.n),
        pass_at_k=passes,
        length_mean=sum(len(rollout.token_ids) for rollout in rollouts) / max(1, len(rollouts)),
        truncated_share=sum(r.finish_reason is FinishReason.LENGTH for r in rollouts) / max(1, len(rollouts)),
        failed=sum(verdict(r).score is None for r in rollouts) + sampling.n * sum(bool(g.error) for g in groups),
        groups=groups,
    )


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased chance that k of n samples hold one of the c right ones (Chen et al. 2021, arXiv 2107.03374, eq. 1)."""
    return 1 - comb(n - c, k) / comb(n, k)


def wilson_interval(value: float, n: float, *, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a share seen as `value` in n trials (Wilson 1927); never leaves [0, 1]."""
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(value * (1 - value) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def estimate_of(shares: Sequence[float], draws: int = 1) -> Estimate:
    """Mean over problems, with Wilson's interval for as many trials as it is worth.

    shares: [problems] 0 or 1, or in between where several answers were drawn. draws: how many independent ones each
    rests on, for k answers together the whole n // k. One draw a problem is one trial. Otherwise the trials are those
    whose mean would vary as this one does: value (1 - value) / (variance of the shares / problems), as for clustered
    samples (Franco et al. 2019, J. Surv. Stat. Methodol. 7, 334), fewer by (z / t)^2 for a variance that is itself
    estimated (Korn and Graubard 1998, Surv. Methodol. 24, 193); at least one a problem and at most all draws.
    """
    n = len(shares)
    value = sum(shares) / n
    squares, of_trials = sum((share - value) ** 2 for share in shares), value * (1 - value)
    each = 1.0
    if draws > 1 and n > 1 and of_trials > 0:
        alike = of_trials * (n - 1) / squares if squares else inf
        each = max(1.0, min(draws, alike / (1 + (Z * Z + 1) / (4 * (n - 1))) ** 2))
    return Estimate(value, n, wilson_interval(value, n * each))
