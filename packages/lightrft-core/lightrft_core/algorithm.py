"""An algorithm is a value: what it estimates, what it raises, how it averages, what it adds."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightrft_core.advantages import AdvantageEstimator
from lightrft_core.aggregation import Aggregation
from lightrft_core.batching import Batch
from lightrft_core.corrections import TIS, Correction, measure_gap
from lightrft_core.filters import DynamicSampling, RolloutFilter
from lightrft_core.kl import KL_ESTIMATORS, AdaptiveKL, KLPlacement, drift, k2, k3, with_unbiased_gradient
from lightrft_core.metrics import Metrics
from lightrft_core.objectives import USUAL_BOUNDS, Bounds, Objective, value_clip_loss
from lightrft_core.protocols import CriticOutput, Loss, PolicyOutput
from lightrft_core.ratios import Tokens, bounded_exp
from lightrft_core.shaping import RewardShaping


@dataclass(frozen=True)
class Algorithm:
    """One policy-gradient algorithm.

    title, paper, equations: where it is published; paper is its arXiv id.
    estimator, objective, aggregation: rewards -> advantages -> what is raised, token by token -> one number.
    bounds: how far the objective lets a ratio move.
    drift_coef: weight of the divergence from the policy that sampled (CPGD); drift_bound: of its gradient's factor.
    kl_coef: weight of the divergence from the reference model; at 0 there is no reference model.
    kl_estimator, kl_placement: how it is estimated and where it enters; kl_unbiased: its gradient, in a loss, is k2's.
    adaptive_kl: steers kl_coef towards a divergence.
    teacher_kl_coef: weight of the reverse KL to a teacher, in the loss; at 0 there is no teacher.
    entropy_coef: weight of the entropy bonus.
    aux_loss_coef: weight of the imbalance of the policy's routers, on the tokens that are computed for the loss.
    high_entropy_share: only this share of an optimiser step's tokens, the most uncertain ones, carries the objective.
    gamma, lambd: discount, and decay of GAE. value_clip: how far the critic's value may move from its old one.
    advantage_clip: bound on |A|; 0: none.
    correction: weights for the gap between sampler and trainer; None only measures it.
    dynamic_sampling: replaces groups without signal. chosen: which answers of a group enter the loss.
    shaping: what happens to rewards between the judge and the baseline.
    """

    title: str
    paper: str
    equations: str
    estimator: AdvantageEstimator
    objective: Objective
    aggregation: Aggregation
    bounds: Bounds = USUAL_BOUNDS["ppo"]
    drift_coef: float = 0.0
    drift_bound: float = 0.2
    kl_coef: float = 0.0
    kl_estimator: str = "k3"
    kl_placement: KLPlacement = KLPlacement.LOSS
    kl_unbiased: bool = False
    adaptive_kl: AdaptiveKL | None = None
    teacher_kl_coef: float = 0.0
    entropy_coef: float = 0.0
    aux_loss_coef: float = 0.0
    high_entropy_share: float = 1.0
    gamma: float = 1.0
    lambd: float = 0.95
    value_clip: float = 0.2
    advantage_clip: float = 0.0
    correction: Correction | None = None
    dynamic_sampling: DynamicSampling | None = None
    chosen: RolloutFilter = field(default_factory=RolloutFilter)
    shaping: RewardShaping = field(default_factory=RewardShaping)

    @property
    def kl_in_reward(self) -> bool:
        """Whether rewards depend on the reference model."""
        return self.kl_coef != 0 and self.kl_placement is not KLPlacement.LOSS

    @property
    def estimates_from_models(self) -> bool:
        """Whether advantages need what models say of the answers."""
        return self.kl_in_reward or self.estimator.critic

    @property
    def learns_without_signal(self) -> bool:
        """Whether a token of advantage 0 may still have a gradient, or has to be scored all the same."""
        in_loss = self.kl_coef or self.teacher_kl_coef or self.entropy_coef or self.drift_coef
        return bool(in_loss) or self.estimates_from_models or self.high_entropy_share < 1

    def models(self, *, off_policy: bool) -> list[str]:
        """Who has to score a batch before it is learnt from; off_policy: it is used for several optimiser steps."""
        wanted = {
            "policy": off_policy or self.kl_in_reward or self.high_entropy_share < 1,
            "reference": self.kl_coef != 0,
            "teacher": self.teacher_kl_coef != 0,
            "critic": self.estimator.critic,
        }
        return [model for model, needed in wanted.items() if needed]

    def losses(self, *, policy: bool = True) -> dict[str, Loss]:
        """What each trained model minimises; policy: whether the policy is among them."""
        critic = {"critic": self.value_loss} if self.estimator.critic else {}
        return critic | ({"policy": self.loss} if policy else {})

    def loss(self, policy: PolicyOutput, batch: Batch) -> tuple[Tensor, Metrics]:
        """This batch's share of the step's policy loss, already divided by the whole step's denominator."""
        old = policy.logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs
        tokens = Tokens(policy.logprobs, old, batch.advantages, batch.sequence_ids)
        objective, clipped = self.objective(tokens, self.bounds)
        weights, touched = (self.correction or TIS).weights(old, batch.rollout_logprobs, batch.sequence_ids)
        if self.correction is not None:
            objective = objective * weights
        if batch.selected is not None:
            objective = objective.where(batch.selected, 0.0)
        terms, metrics = self._further_terms(policy, old, batch)
        metrics.mean("policy/clip_share", clipped)
        metrics.mean("policy/entropy", policy.entropy)
        metrics.mean("policy/kl_old", k3(old, policy.logprobs))
        metrics.max("policy/ratio_max", bounded_exp(tokens.log_ratio))
        if batch.rollouts:
            numbers = {"logprobs": old, "entropy": policy.entropy, "ratios": bounded_exp(tokens.log_ratio)}
            metrics.by_token(batch.rollouts, batch.sequence_ids, numbers)
        measure_gap(old, batch.rollout_logprobs, batch.sequence_ids, touched, metrics)
        total = (batch.weights * (terms - objective)).sum()
        if policy.aux_loss is not None:
            total = total + self.aux_loss_coef * batch.share * policy.aux_loss
            metrics.weighted_mean("policy/aux_loss", policy.aux_loss, batch.share)
        return total, metrics

    def _further_terms(self, policy: PolicyOutput, old: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """[tokens] what the loss holds besides the objective."""
        logprobs, metrics = policy.logprobs, Metrics()
        terms = torch.zeros_like(logprobs)
        if batch.reference_logprobs is not None:
            metrics.mean("policy/kl_reference", k3(logprobs, batch.reference_logprobs))
            if self.kl_placement is KLPlacement.LOSS:
                divergence = KL_ESTIMATORS[self.kl_estimator](logprobs, batch.reference_logprobs)
                if self.kl_unbiased:
                    divergence = with_unbiased_gradient(divergence, logprobs, batch.reference_logprobs)
                terms = terms + self.kl_coef * divergence
        if batch.teacher_logprobs is not None:
            metrics.mean("policy/kl_teacher", k3(logprobs, batch.teacher_logprobs))
            terms = terms + self.teacher_kl_coef * k2(logprobs, batch.teacher_logprobs)
        if self.drift_coef:
            terms = terms + self.drift_coef * drift(logprobs, old, self.drift_bound)
        if self.entropy_coef:
            terms = terms - self.entropy_coef * policy.entropy
        return terms, metrics

    def value_loss(self, critic: CriticOutput, batch: Batch) -> tuple[Tensor, Metrics]:
        """This batch's share of the step's critic loss, averaged as the policy's."""
        assert batch.old_values is not None and batch.returns is not None
        loss, clipped = value_clip_loss(critic.values, batch.old_values, batch.returns, self.value_clip)
        metrics = Metrics()
        metrics.mean("critic/value_mean", critic.values)
        metrics.mean("critic/return_mean", batch.returns)
        metrics.mean("critic/clip_share", clipped)
        return (batch.weights * loss).sum(), metrics
