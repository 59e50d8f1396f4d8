"""Advantages of every token of a step, as nested lists [group][answer][token].

An answer whose judging failed (reward None) neither counts in any mean nor gets an advantage: None stands in its place.
In a group with fewer than two known rewards there is nothing to compare, so the group-relative estimators give 0.
Probabilities are those of the policy that sampled (`old_logprobs`): an advantage is a constant of the gradient.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from .case import Answer, Case

Rewards = list[list[float | None]]
Advantages = list[list[list[float] | None]]
GroupRule = Callable[[list[float]], list[float]]


def rewards_of(case: Case) -> Rewards:
    return [[answer.reward for answer in group] for group in case.groups]


def spread_over_tokens(case: Case, scalars: Rewards) -> Advantages:
    """The same number at every token of an answer."""
    return [
        [None if scalar is None else [scalar] * len(answer) for answer, scalar in zip(group, row, strict=True)]
        for group, row in zip(case.groups, scalars, strict=True)
    ]


def _within_groups(rewards: Rewards, rule: GroupRule) -> Rewards:
    """Apply a rule to the known rewards of each group; 0 where fewer than two are known."""
    result: Rewards = []
    for group in rewards:
        known = [reward for reward in group if reward is not None]
        compared = iter(rule(known) if len(known) >= 2 else [0.0] * len(known))
        result.append([None if reward is None else next(compared) for reward in group])
    return result


def _all_equal(rewards: Sequence[float]) -> bool:
    return max(rewards) == min(rewards)


def _centred(rewards: list[float]) -> list[float]:
    mean = statistics.fmean(rewards)
    return [0.0] * len(rewards) if _all_equal(rewards) else [reward - mean for reward in rewards]


def _standardised(rewards: list[float], eps: float) -> list[float]:
    if _all_equal(rewards):
        return [0.0] * len(rewards)
    std = statistics.stdev(rewards)
    return [centred / (std + eps) for centred in _centred(rewards)]


def group_norm(rewards: Rewards, eps: float = 1e-6) -> Rewards:
    """(R_i - mean) / (std + eps), the std unbiased; 0 where all are equal (GRPO, 2402.03300, section 4.1.2)."""
    return _within_groups(rewards, lambda known: _standardised(known, eps))


def group_mean(rewards: Rewards) -> Rewards:
    """R_i - mean (Dr.GRPO, 2503.20783; CPGD with equal weights, 2505.12504)."""
    return _within_groups(rewards, _centred)


def leave_one_out(rewards: Rewards) -> Rewards:
    """R_i - 1/(G-1) sum_{j != i} R_j (RLOO, 2402.14740)."""

    def rule(known: list[float]) -> list[float]:
        if _all_equal(known):
            return [0.0] * len(known)
        return [known[i] - statistics.fmean(known[:i] + known[i + 1 :]) for i in range(len(known))]

    return _within_groups(rewards, rule)


def raw_return(rewards: Rewards) -> Rewards:
    """R_i itself: REINFORCE without a baseline (Williams 1992)."""
    return [list(group) for group in rewards]


def batch_mean(rewards: Rewards) -> Rewards:
    """R_i - the mean of every known reward of the batch, whichever question it answers."""
    known = [reward for group in rewards for reward in group if reward is not None]
    baseline = statistics.fmean(known) if known else 0.0
    return [[None if reward is None else reward - baseline for reward in group] for group in rewards]


def cpgd(rewards: Rewards, weight: str = "none", *, eps: float = 1e-6, cap: float = 3.0) -> Rewards:
    """w(x) (R_i - mean), one weight a question (CPGD, 2505.12504).

    (check) decided: "none" is w = 1; "std" is w = 1 / (std + eps), GRPO's advantage exactly; "useful_share" is
    w = min(groups / useful groups, cap) at every useful group. A group is useful if its known rewards differ, and is
    counted if it has any known reward. cap = 3 is the default of the authors' code, as far as others restate it.
    """
    if weight == "none":
        return group_mean(rewards)
    if weight == "std":
        return group_norm(rewards, eps)
    if weight == "useful_share":
        known = [[reward for reward in group if reward is not None] for group in rewards]
        counted = [group for group in known if group]
        useful = [group for group in counted if not _all_equal(group)]
        factor = min(len(counted) / len(useful), cap) if useful else 1.0
        return _within_groups(rewards, lambda group: [factor * centred for centred in _centred(group)])
    raise ValueError(f"weight {weight!r} is not none, std or useful_share")


def token_kl(answer: Answer) -> list[float]:
    """k1 of the sampling policy against the reference: log pi_old - log pi_ref at each token."""
    return [old - ref for old, ref in zip(answer.old_logprobs, answer.reference_logprobs, strict=True)]


def kl_in_sequence_reward(case: Case, beta: float) -> Rewards:
    """R_i - beta sum_t k1_t (2402.14740: the KL of the whole answer)."""
    return [
        [None if answer.reward is None else answer.reward - beta * sum(token_kl(answer)) for answer in group]
        for group in case.groups
    ]


def token_rewards(answer: Answer, beta: float) -> list[float]:
    """-beta k1_t at each token, plus R at the last (2501.03262; Ziegler et al. 2019, 1909.08593)."""
    assert answer.reward is not None
    rewards = [-beta * kl for kl in token_kl(answer)]
    rewards[-1] += answer.reward
    return rewards


def _each_judged(case: Case, rule: Callable[[Answer], list[float]]) -> Advantages:
    return [[None if answer.reward is None else rule(answer) for answer in group] for group in case.groups]


def return_to_go(case: Case, *, beta: float, gamma: float = 1.0) -> Advantages:
    """sum_{k >= t} gamma^(k - t) r_k of the token rewards."""

    def rule(answer: Answer) -> list[float]:
        rewards = token_rewards(answer, beta)
        return [sum(gamma ** (k - t) * rewards[k] for k in range(t, len(rewards))) for t in range(len(rewards))]

    return _each_judged(case, rule)


def rloo(case: Case, *, beta: float) -> Advantages:
    """RLOO (2402.14740): the KL of the whole answer in its reward, then leave-one-out."""
    return spread_over_tokens(case, leave_one_out(kl_in_sequence_reward(case, beta)))


def whitened(advantages: Advantages, eps: float = 1e-8) -> Advantages:
    """(A - mean) / sqrt(var + eps) over all tokens of the batch together, var the population variance.

    (check) decided: REINFORCE++ and PPO name a mean and a std over the batch and no estimator; every token weighs the
    same, so long answers weigh more, and eps stands inside the root.
    """
    tokens = [a for group in advantages for answer in group if answer is not None for a in answer]
    if not tokens:
        return advantages
    mean = statistics.fmean(tokens)
    root = (statistics.fmean((a - mean) ** 2 for a in tokens) + eps) ** 0.5
    return [
        [None if answer is None else [(a - mean) / root for a in answer] for answer in group] for group in advantages
    ]


def reinforce_pp(case: Case, *, beta: float, gamma: float = 1.0) -> Advantages:
    """REINFORCE++ (2501.03262): return-to-go with the token KL, then one whitening of the whole batch."""
    return whitened(return_to_go(case, beta=beta, gamma=gamma))


def reinforce_pp_baseline(case: Case) -> Advantages:
    """REINFORCE++ with baseline (2501.03262, later versions): R - group mean, then one whitening of the whole batch."""
    return whitened(spread_over_tokens(case, group_mean(rewards_of(case))))


def gae(case: Case, *, beta: float, gamma: float, lam: float) -> tuple[Advantages, Advantages]:
    """(advantages, returns) by generalised advantage estimation (Schulman et al. 2015, 1506.02438, eq. 16).

    delta_t = r_t + gamma V_{t+1} - V_t with V = 0 after the last token (a truncated answer's too),
    A_t = sum_k (gamma lam)^k delta_{t+k}, returns = A + V. V are the values recorded with the answer (`old_values`).
    """

    def rule(answer: Answer) -> list[float]:
        rewards, values = token_rewards(answer, beta), [*answer.old_values, 0.0]
        deltas = [reward + gamma * values[t + 1] - values[t] for t, reward in enumerate(rewards)]
        return [sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[t:])) for t in range(len(deltas))]

    advantages = _each_judged(case, rule)
    returns: Advantages = [
        [
            None if row is None else [a + v for a, v in zip(row, answer.old_values, strict=True)]
            for answer, row in zip(group, rows, strict=True)
        ]
        for group, rows in zip(case.groups, advantages, strict=True)
    ]
    return advantages, returns


def ppo(case: Case, *, beta: float, gamma: float, lam: float) -> Advantages:
    """PPO for language models: GAE, whitened over the batch. The returns of the critic are not whitened."""
    return whitened(gae(case, beta=beta, gamma=gamma, lam=lam)[0])
