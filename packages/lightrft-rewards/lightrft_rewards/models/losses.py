"""What a reward model's scores cost, given what people thought: pure functions, one paper each.

All tensors of one call have one shape, [pairs] unless told otherwise, and so has the result.
"""

from __future__ import annotations

from math import log, pi

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, logsigmoid, softplus

LOG_VARIANCES = (-8.0, 4.0)
"""A reward's variance is taken to be no smaller and no greater."""
_REACH, _POINTS = 12.0, 193


def bradley_terry(better: Tensor, worse: Tensor, *, margin: float = 0.0, label_smoothing: float = 0.0) -> Tensor:
    """-log sigma(r_b - r_w - margin) (Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155, eq. 1).

    margin: Touvron et al. 2023, arXiv 2307.09288, eq. 2. label_smoothing: the share of labels that are taken to be the
    wrong way round (Wang et al. 2024, arXiv 2401.06080, section 2.2.2).
    """
    gap = better - worse - margin
    return -(1 - label_smoothing) * logsigmoid(gap) - label_smoothing * logsigmoid(-gap)


def log_exp(better: Tensor, worse: Tensor) -> Tensor:
    """log(1 + exp(r_w - r_b)) (Burges et al. 2005, RankNet, eq. 3): bradley_terry without a margin."""
    return softplus(worse - better)


def hps(one: Tensor, other: Tensor, preference: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of softmax([r_1, r_2] / temperature) with [p, 1 - p] (Wu et al. 2023, arXiv 2306.09341, eq. 1-2).

    preference: how many prefer the first: 1, 0, or 0.5 of a tie (Kirstain et al. 2023, arXiv 2305.01569, section 3).
    """
    gap = (one - other) / temperature
    return -preference * logsigmoid(gap) - (1 - preference) * logsigmoid(-gap)


def uncertainty(better: Tensor, worse: Tensor, better_log_variance: Tensor, worse_log_variance: Tensor) -> Tensor:
    """-log E[sigma(r_b - r_w)], both rewards Gaussian (HPSv3, Ma et al. 2025, arXiv 2508.03789, section 3.2; PURM, Sun
    et al. 2025, arXiv 2503.22480, section 3): the papers' expectation, which they sample, by the trapezoidal rule.

    Log-variances are first brought within LOG_VARIANCES.
    """
    variance = better_log_variance.clamp(*LOG_VARIANCES).exp() + worse_log_variance.clamp(*LOG_VARIANCES).exp()
    points = torch.linspace(-_REACH, _REACH, _POINTS, dtype=better.dtype, device=better.device)
    log_weights = -points.square() / 2 + log(2 * _REACH / (_POINTS - 1)) - log(2 * pi) / 2
    gaps = (better - worse)[:, None] + variance.sqrt()[:, None] * points
    return -(logsigmoid(gaps) + log_weights).logsumexp(1)


def davidson(one: Tensor, other: Tensor, tie: Tensor, *, tie_share: float) -> Tensor:
    """-log P(the first is better), or -log P(tie) where `tie` (Davidson 1970, doi 10.1080/01621459.1970.10481082).

    P(first) : P(second) : P(tie) = e^r1 : e^r2 : nu e^((r1 + r2) / 2). tie_share: of equally good answers how many are
    tied, nu / (2 + nu).
    """
    nu = 2 * tie_share / (1 - tie_share)
    law = torch.stack([one, other, log(nu) + (one + other) / 2]).log_softmax(0)
    return -torch.where(tie, law[2], law[0])


def rao_kupper(one: Tensor, other: Tensor, tie: Tensor, *, tie_share: float) -> Tensor:
    """-log P(the first is better), or -log P(tie) where `tie` (Rao and Kupper 1967, doi 10.2307/2282923).

    P(first) = sigma(r1 - r2 - log theta), P(second) likewise, and what is left are ties. tie_share: of equally good
    answers how many are tied, (theta - 1) / (theta + 1).
    """
    theta = (1 + tie_share) / (1 - tie_share)
    first, second = logsigmoid(one - other - log(theta)), logsigmoid(other - one - log(theta))
    return -torch.where(tie, log(theta**2 - 1) + first + second, first)


def plackett_luce(rewards: Tensor, labels: Tensor, contest: Tensor) -> Tensor:
    """-log P of each choice when the best is drawn first, then the best of the rest (Plackett 1975; ListMLE, Xia et al.
    2008, doi 10.1145/1390156.1390306, eq. 9). A contest's sum is -log P of its whole order.

    rewards, labels, contest: [answers] the greater label is better, answers of one contest are ranked together. Answers
    with equal labels are all still there when either is drawn (Breslow 1974).
    """
    left = (contest[:, None] == contest) & (labels <= labels[:, None])
    return rewards.expand(len(rewards), -1).masked_fill(~left, -torch.inf).logsumexp(1) - rewards


def regression(rewards: Tensor, labels: Tensor, *, huber_delta: float | None = None) -> Tensor:
    """[answers] (r - label)^2, or Huber's loss (1964, doi 10.1214/aoms/1177703732), linear beyond huber_delta."""
    labels = labels.to(rewards.dtype)
    if huber_delta is None:
        return (rewards - labels).square()
    return huber_loss(rewards, labels, reduction="none", delta=huber_delta)


def cross_entropy(rewards: Tensor, labels: Tensor) -> Tensor:
    """[steps] -y log sigma(r) - (1 - y) log sigma(-r), y from 0 to 1 how probably it is good: of steps (Lightman et al.
    2023, arXiv 2305.20050, section 2.4; Math-Shepherd, Wang et al. 2023, arXiv 2312.08935, eq. 2, whose soft labels y
    are shares of continuations that end well), or of whole answers (Cobbe et al. 2021, arXiv 2110.14168, section 4.2).
    """
    labels = labels.to(rewards.dtype)
    return -labels * logsigmoid(rewards) - (1 - labels) * logsigmoid(-rewards)
