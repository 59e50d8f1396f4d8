"""The terms of one answer, a number a token, to be maximised, given its log-probs, the old ones and its advantages.

Log-probs may be complex (number.py), which yields the gradient a paper means: where it is not the derivative of the
value, sg[] (`stopped`) says so. r_t = exp(logp_t - old_t) throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .case import Case
from .number import clip, exp, larger, mean, smaller, stopped

Logprobs = Sequence[complex]


def log_ratios(logprobs: Logprobs, old_logprobs: Sequence[float]) -> list[complex]:
    return [logp - old for logp, old in zip(logprobs, old_logprobs, strict=True)]


def policy_gradient(logprobs: Logprobs, advantages: Sequence[float]) -> list[complex]:
    """A_t log pi_t: REINFORCE (Williams 1992), RLOO (2402.14740)."""
    return [a * logp for logp, a in zip(logprobs, advantages, strict=True)]


def _clipped(ratio: complex, a: float, low: float, high: float) -> complex:
    return smaller(ratio * a, clip(ratio, 1 - low, 1 + high) * a)


def ppo_clip(
    logprobs: Logprobs,
    old_logprobs: Sequence[float],
    advantages: Sequence[float],
    *,
    low: float,
    high: float,
    dual_clip: float | None = None,
) -> list[complex]:
    """min(r A, clip(r, 1 - low, 1 + high) A) (PPO, 1707.06347 eq. 7; two sides by DAPO, 2503.14476 eq. 8).

    dual_clip = c > 1: where A < 0 the term is at least c A (Ye et al. 2019, 1912.09729).
    """
    terms = []
    for log_ratio, a in zip(log_ratios(logprobs, old_logprobs), advantages, strict=True):
        term = _clipped(exp(log_ratio), a, low, high)
        if dual_clip is not None and a < 0:
            term = larger(term, complex(dual_clip * a))
        terms.append(term)
    return terms


def gspo(
    logprobs: Logprobs, old_logprobs: Sequence[float], advantages: Sequence[float], *, low: float, high: float
) -> list[complex]:
    """s = exp(1/|o| sum_t log r_t); min(s A, clip(s, 1 - low, 1 + high) A) at every token (2507.18071 eq. 5-7)."""
    ratio = exp(mean(log_ratios(logprobs, old_logprobs)))
    return [_clipped(ratio, a, low, high) for a in advantages]


def gspo_token(
    logprobs: Logprobs, old_logprobs: Sequence[float], advantages: Sequence[float], *, low: float, high: float
) -> list[complex]:
    """s_t = sg[s] pi_t / sg[pi_t]: GSPO's value, each token's own gradient and advantage (2507.18071 eq. 13-14)."""
    ratio = stopped(exp(mean(log_ratios(logprobs, old_logprobs))))
    return [
        _clipped(ratio * exp(logp - stopped(logp)), a, low, high) for logp, a in zip(logprobs, advantages, strict=True)
    ]


def gmpo(
    logprobs: Logprobs, old_logprobs: Sequence[float], advantages: Sequence[float], *, low: float, high: float
) -> list[complex]:
    """exp(1/|o| sum_t c_t) A at every token (GMPO, 2507.20673).

    c_t is log r_t held to [-low, high] on the side where PPO's min would clip: min(log r, clip(log r)) for A >= 0,
    max(log r, clip(log r)) for A < 0. low and high are bounds of log r, .4 in the paper.
    """
    held = []
    for log_ratio, a in zip(log_ratios(logprobs, old_logprobs), advantages, strict=True):
        bounded = clip(log_ratio, -low, high)
        held.append(smaller(log_ratio, bounded) if a >= 0 else larger(log_ratio, bounded))
    return [exp(mean(held)) * a for a in advantages]


def drift(log_ratio: complex, cap: float) -> complex:
    """The estimate of KL(pi_old, pi_theta) at a token of pi_old: value r - 1 - log r, derivative min(r - 1, cap).

    (check) decided: the k3 form, whose own derivative r - 1 grows without bound with r; the paper bounds that factor
    from above (below it is > -1 by itself). The value is left alone.
    """
    ratio = stopped(exp(log_ratio))
    value = ratio - 1 - stopped(log_ratio)
    return value + min(ratio - 1, cap) * (log_ratio - stopped(log_ratio))


def cpgd(
    logprobs: Logprobs,
    old_logprobs: Sequence[float],
    advantages: Sequence[float],
    *,
    low: float,
    high: float,
    drift_coef: float,
    drift_cap: float | None = None,
) -> list[complex]:
    """min(ln r A, clip(ln r, ln(1 - low), ln(1 + high)) A) - alpha drift (CPGD, 2505.12504).

    drift_cap: the bound of the drift's gradient factor, `high` unless told.
    """
    cap = high if drift_cap is None else drift_cap
    terms = []
    for log_ratio, a in zip(log_ratios(logprobs, old_logprobs), advantages, strict=True):
        bounded = clip(log_ratio, math.log(1 - low), math.log(1 + high))
        terms.append(smaller(log_ratio * a, bounded * a) - drift_coef * drift(log_ratio, cap))
    return terms


def cispo(
    logprobs: Logprobs, old_logprobs: Sequence[float], advantages: Sequence[float], *, high: float
) -> list[complex]:
    """sg[clip(r, 0, 1 + high)] A log pi (CISPO, 2506.13585 eq. 4-5, without a lower bound as the authors ran it)."""
    terms = []
    for logp, old, a in zip(logprobs, old_logprobs, advantages, strict=True):
        weight = stopped(clip(exp(logp - old), 0.0, 1 + high))
        terms.append(weight * a * logp)
    return terms


def value_loss(
    values: Sequence[complex], old_values: Sequence[float], returns: Sequence[float], *, clip_range: float
) -> list[complex]:
    """Half the larger of the squared errors of V and of V held to old +- clip_range. To be minimised.

    Not in 1707.06347 itself: it is in the authors' code (openai/baselines, ppo2).
    """
    terms = []
    for value, old, target in zip(values, old_values, returns, strict=True):
        held = clip(value, old - clip_range, old + clip_range)
        free_error, held_error = value - target, held - target
        terms.append(larger(free_error * free_error, held_error * held_error) / 2)
    return terms


def high_entropy_tokens(case: Case, share: float) -> list[list[list[bool]]]:
    """[group][answer][token]: is it among the ceil(share N) tokens of highest entropy of the batch (2506.01939).

    N counts every token of every judged answer. Of equal entropies the first in reading order is taken.
    (check) decided: the paper keeps tokens at or above the quantile rho of the batch; as a count that is ceil(rho N).
    """
    tokens = [(-entropy, g, i, t) for g, i, answer in case.judged() for t, entropy in enumerate(answer.entropy)]
    count = math.ceil(share * len(tokens) - 1e-9)  # .2 x 15 must be 3 whatever the last bit says
    chosen = {(g, i, t) for _, g, i, t in sorted(tokens)[:count]}
    return [
        [[(g, i, t) in chosen for t in range(len(answer))] for i, answer in enumerate(group)]
        for g, group in enumerate(case.groups)
    ]
