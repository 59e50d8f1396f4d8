"""The table of named algorithms. An algorithm is a value: what it estimates, what it raises, how it averages.

Adding one is a row here, perhaps a function beside it, and a conformance test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lightrft_core.advantages import group_norm
from lightrft_core.aggregation import Aggregation
from lightrft_core.batching import Batch
from lightrft_core.kl import KL_ESTIMATORS, k3
from lightrft_core.metrics import Metrics
from lightrft_core.objectives import ppo_clip
from lightrft_core.protocols import PolicyOutput

ADVANTAGE_ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"group_norm": group_norm}
"""(rewards, valid) -> advantages, all [groups, n]."""


@dataclass(frozen=True)
class Algorithm:
    """One policy-gradient algorithm.

    advantages: (rewards, valid) -> advantages, all [groups, n].
    objective: (logprobs, old_logprobs, advantages) [tokens] -> (objective, clipped) [tokens], to be maximised.
    clip_low, clip_high: how far the ratio may fall below and rise above 1.
    kl_coef: weight of the divergence from the reference model in the loss; at 0 there is no reference model.
    entropy_coef: weight of the entropy bonus.
    """

    paper: str
    advantages: Callable[[Tensor, Tensor], Tensor]
    objective: Callable[..., tuple[Tensor, Tensor]]
    aggregation: Aggregation
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coef: float = 0.0
    kl_estimator: str = "k3"
    entropy_coef: float = 0.0

    @property
    def learns_without_signal(self) -> bool:
        """Whether a token of advantage 0 still has a gradient."""
        return self.kl_coef != 0 or self.entropy_coef != 0

    def loss(self, policy: PolicyOutput, batch: Batch) -> tuple[Tensor, Metrics]:
        """This batch's share of the step's loss: sum of weight * (-objective + kl_coef * KL - entropy_coef * H)."""
        old = policy.logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs
        objective, clipped = self.objective(
            policy.logprobs, old, batch.advantages, clip_low=self.clip_low, clip_high=self.clip_high
        )
        loss = -objective
        metrics = Metrics()
        if self.kl_coef:
            assert batch.reference_logprobs is not None
            divergence = KL_ESTIMATORS[self.kl_estimator](policy.logprobs, batch.reference_logprobs)
            loss = loss + self.kl_coef * divergence
            metrics.mean("policy/kl_reference", divergence)
        if self.entropy_coef:
            loss = loss - self.entropy_coef * policy.entropy
        gap = (old - batch.rollout_logprobs).abs()
        metrics.mean("policy/clip_share", clipped)
        metrics.mean("policy/entropy", policy.entropy)
        metrics.mean("policy/kl_old", k3(old, policy.logprobs))
        metrics.max("policy/ratio_max", (policy.logprobs - old).exp())
        metrics.mean("engine/logprob_gap_mean", gap)
        metrics.max("engine/logprob_gap_max", gap)
        return (batch.weights * loss).sum(), metrics


ALGORITHMS: dict[str, Algorithm] = {
    "grpo": Algorithm("2402.03300", group_norm, ppo_clip, Aggregation.SEQ_MEAN_TOKEN_MEAN),
}
