"""The whole loss of one optimiser step, from the constants of an algorithm (rows.py) and the pieces beside this file.

loss = - aggregate over every token of every judged answer (objective_t - kl_coef KL_t). A group without signal still
counts in the denominators; so does a truncated answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import advantages as estimators
from . import objectives
from .advantages import Advantages
from .aggregation import AGGREGATIONS
from .case import Answer, Case
from .kl import ESTIMATORS
from .number import STEP

Gradient = list[list[list[float]]]

SCALAR_ESTIMATORS: dict[str, Callable[[estimators.Rewards], estimators.Rewards]] = {
    "group_norm": estimators.group_norm,
    "group_mean": estimators.group_mean,
    "leave_one_out": estimators.leave_one_out,
    "raw_return": estimators.raw_return,
    "batch_mean": estimators.batch_mean,
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One algorithm. Bounds that an objective does not have stay None."""

    paper: str
    advantage: str  # a key of SCALAR_ESTIMATORS, or return_to_go, or gae
    objective: str  # a function of objectives.py
    aggregation: str  # a key of AGGREGATIONS
    whiten: bool = False  # one whitening of the advantages over all tokens of the batch
    clip_low: float | None = None  # of r; of log r for gmpo
    clip_high: float | None = None
    dual_clip: float | None = None
    kl_coef: float = 0.0
    kl_place: str = "none"  # none, loss, token_reward, sequence_reward
    kl_estimator: str = "none"  # a key of ESTIMATORS; in a reward always k1
    gamma: float = 1.0
    lam: float | None = None
    drift_coef: float | None = None
    drift_cap: float | None = None
    entropy_share: float | None = None
    value_clip: float | None = None

    def advantages(self, case: Case) -> Advantages:
        """[group][answer][token]; None for an answer whose judging failed."""
        token_beta = self.kl_coef if self.kl_place == "token_reward" else 0.0
        sequence_beta = self.kl_coef if self.kl_place == "sequence_reward" else 0.0
        if self.advantage == "gae":
            assert self.lam is not None
            result = estimators.gae(case, beta=token_beta, gamma=self.gamma, lam=self.lam)[0]
        elif self.advantage == "return_to_go":
            result = estimators.return_to_go(case, beta=token_beta, gamma=self.gamma)
        else:
            rewards = estimators.kl_in_sequence_reward(case, sequence_beta)
            result = estimators.spread_over_tokens(case, SCALAR_ESTIMATORS[self.advantage](rewards))
        return estimators.whitened(result) if self.whiten else result

    def _objective(self, logprobs: Sequence[complex], answer: Answer, advantages: Sequence[float]) -> list[complex]:
        old = answer.old_logprobs
        if self.objective == "policy_gradient":
            return objectives.policy_gradient(logprobs, advantages)
        assert self.clip_high is not None
        if self.objective == "cispo":
            return objectives.cispo(logprobs, old, advantages, high=self.clip_high)
        assert self.clip_low is not None
        low, high = self.clip_low, self.clip_high
        if self.objective == "ppo_clip":
            return objectives.ppo_clip(logprobs, old, advantages, low=low, high=high, dual_clip=self.dual_clip)
        if self.objective == "cpgd":
            assert self.drift_coef is not None
            coef, cap = self.drift_coef, self.drift_cap
            return objectives.cpgd(logprobs, old, advantages, low=low, high=high, drift_coef=coef, drift_cap=cap)
        rule = {"gspo": objectives.gspo, "gspo_token": objectives.gspo_token, "gmpo": objectives.gmpo}[self.objective]
        return rule(logprobs, old, advantages, low=low, high=high)

    def terms(
        self, logprobs: Sequence[complex], answer: Answer, advantages: Sequence[float], chosen: Sequence[bool]
    ) -> list[complex]:
        """What each token of one answer adds to the objective: its policy term where chosen, less its KL."""
        policy = self._objective(logprobs, answer, advantages)
        terms = [term if kept else 0j for term, kept in zip(policy, chosen, strict=True)]
        if self.kl_place != "loss":
            return terms
        kl = ESTIMATORS[self.kl_estimator]
        pairs = zip(terms, logprobs, answer.reference_logprobs, strict=True)
        return [term - self.kl_coef * kl(logp, reference) for term, logp, reference in pairs]

    def _chosen(self, case: Case) -> list[list[list[bool]]]:
        """The tokens that carry the policy term (2506.01939).

        (check) decided: the others still count in every denominator, the paper's being that of DAPO.
        """
        if self.entropy_share is None:
            return [[[True] * len(answer) for answer in group] for group in case.groups]
        return objectives.high_entropy_tokens(case, self.entropy_share)

    def _step(self, case: Case) -> list[tuple[int, int, Answer, list[float], list[bool]]]:
        advantages, chosen = self.advantages(case), self._chosen(case)
        step = []
        for g, i, answer in case.judged():
            own = advantages[g][i]
            assert own is not None
            step.append((g, i, answer, own, chosen[g][i]))
        return step

    def loss(self, case: Case) -> float:
        terms = [self.terms(answer.logprobs, answer, own, chosen) for _, _, answer, own, chosen in self._step(case)]
        return -AGGREGATIONS[self.aggregation](terms, case.max_length).real

    def gradient(self, case: Case) -> Gradient:
        """d loss / d logprobs, [group][answer][token], by the complex step; 0 for an answer whose judging failed."""
        gradient: Gradient = [[[0.0] * len(answer) for answer in group] for group in case.groups]
        step = self._step(case)
        # The aggregation is linear, and a log-prob enters its own answer's terms alone: all others may be zeros.
        zeros: list[list[complex]] = [[0j] * len(answer) for _, _, answer, _, _ in step]
        for place, (g, i, answer, own, chosen) in enumerate(step):
            for t in range(len(answer)):
                moved = [logp + (STEP * 1j if k == t else 0j) for k, logp in enumerate(answer.logprobs)]
                terms = [*zeros[:place], self.terms(moved, answer, own, chosen), *zeros[place + 1 :]]
                gradient[g][i][t] = -AGGREGATIONS[self.aggregation](terms, case.max_length).imag / STEP
        return gradient

    def _value_terms(
        self, case: Case, returns: Advantages, moved: tuple[int, int, int] | None = None
    ) -> list[list[complex]]:
        assert self.value_clip is not None
        terms = []
        for g, i, answer in case.judged():
            own = returns[g][i]
            assert own is not None
            values = [v + (STEP * 1j if (g, i, t) == moved else 0j) for t, v in enumerate(answer.values)]
            terms.append(objectives.value_loss(values, answer.old_values, own, clip_range=self.value_clip))
        return terms

    def returns(self, case: Case) -> Advantages:
        """The critic's targets, of GAE before any whitening; None for an answer whose judging failed."""
        assert self.lam is not None
        beta = self.kl_coef if self.kl_place == "token_reward" else 0.0
        return estimators.gae(case, beta=beta, gamma=self.gamma, lam=self.lam)[1]

    def value_loss(self, case: Case) -> float:
        """The critic's loss: `values` against the returns of `old_values`, aggregated as the policy's."""
        return AGGREGATIONS[self.aggregation](self._value_terms(case, self.returns(case)), case.max_length).real

    def value_gradient(self, case: Case) -> Gradient:
        """d value_loss / d values, [group][answer][token]; 0 for an answer whose judging failed."""
        gradient: Gradient = [[[0.0] * len(answer) for answer in group] for group in case.groups]
        returns = self.returns(case)
        for g, i, answer in case.judged():
            for t in range(len(answer)):
                terms = self._value_terms(case, returns, moved=(g, i, t))
                gradient[g][i][t] = AGGREGATIONS[self.aggregation](terms, case.max_length).imag / STEP
        return gradient
