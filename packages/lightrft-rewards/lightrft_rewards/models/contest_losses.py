"""Which loss a reward model learns by, and what of a contest it takes: pairs, orders or numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from lightrft_rewards.models import losses


class Scores(NamedTuple):
    """One head's [scored] means, log-variances (None: it is certain) and labels (NaN: none), and whose they are.

    contest: [scored] its number in the batch.
    """

    means: Tensor
    log_variances: Tensor | None
    labels: Tensor
    contest: Tensor

    def known(self) -> Scores:
        """Those with labels."""
        there = ~self.labels.isnan()
        spread = None if self.log_variances is None else self.log_variances[there]
        return Scores(self.means[there], spread, self.labels[there], self.contest[there])


class Pairs(NamedTuple):
    """Two of one contest: places in Scores of the better and the worse; of a tie, in their order."""

    better: Tensor
    worse: Tensor


class Terms(NamedTuple):
    """[terms] what is minimised, and the contest that each belongs to."""

    losses: Tensor
    contest: Tensor


def decided(scores: Scores) -> Pairs:
    """All pairs of one contest whose labels differ."""
    same = scores.contest[:, None] == scores.contest
    return Pairs(*(same & (scores.labels[:, None] > scores.labels)).nonzero(as_tuple=True))


def tied(scores: Scores) -> Pairs:
    """All pairs of one contest whose labels are equal, each once."""
    same = (scores.contest[:, None] == scores.contest) & (scores.labels[:, None] == scores.labels)
    return Pairs(*same.triu(1).nonzero(as_tuple=True))


@dataclass(frozen=True)
class LossOptions:
    """name: one of LOSSES; what else counts for some of them alone, see losses.

    margin, label_smoothing: of bradley_terry. temperature: of hps. tie_share: of davidson and rao_kupper.
    huber_delta: of regression; None: squared error.
    Raises ValueError for a name that there is not, and for what the loss does not take or cannot be.
    """

    name: str = "bradley_terry"
    margin: float = 0.0
    label_smoothing: float = 0.0
    temperature: float = 1.0
    tie_share: float = 1 / 3
    huber_delta: float | None = None

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"loss {self.name}: there are {', '.join(LOSSES)}")
        bounds = {
            "label_smoothing": 0 <= self.label_smoothing < 0.5,
            "temperature": self.temperature > 0,
            "tie_share": 0 < self.tie_share < 1,
            "huber_delta": self.huber_delta is None or self.huber_delta > 0,
        }
        for option, names in OPTIONS.items():
            value = getattr(self, option)
            if value != getattr(LossOptions, option) and self.name not in names:
                raise ValueError(f"{option} {value} is for the loss {' and '.join(names)}, not for {self.name}")
            if not bounds.get(option, True):
                raise ValueError(f"{option} {value} cannot be: see the loss {self.name}")

    @property
    def needs_uncertain(self) -> bool:
        """Whether the model must say how uncertain it is."""
        return self.name == "uncertainty"

    def teaches(self, labels: Sequence[float]) -> bool:
        """Whether there is anything to learn from a contest with these labels; those that are NaN are none.

        Raises ValueError if the loss cannot learn from such numbers.
        """
        labels = [label for label in labels if not isnan(label)]
        if self.name == "cross_entropy" and not all(0 <= label <= 1 for label in labels):
            raise ValueError(f"labels for the loss cross_entropy are from 0 to 1, not {labels}")
        match LOSSES[self.name].needs:
            case "numbers":
                return bool(labels)
            case "pairs":
                return len(labels) > 1
            case _:
                return len(set(labels)) > 1

    def terms(self, scores: Scores) -> Terms:
        """What is minimised of one head's scores."""
        return LOSSES[self.name].terms(scores.known(), self)


def _pairwise(loss: Callable[[Scores, Pairs, LossOptions], Tensor]) -> TermsOf:
    def terms(scores: Scores, options: LossOptions) -> Terms:
        pairs = decided(scores)
        return Terms(loss(scores, pairs, options), scores.contest[pairs.better])

    return terms


def _with_ties(loss: Callable[[Tensor, Tensor, Tensor, LossOptions], Tensor]) -> TermsOf:
    def terms(scores: Scores, options: LossOptions) -> Terms:
        wins, ties = decided(scores), tied(scores)
        one, other = torch.cat([wins.better, ties.better]), torch.cat([wins.worse, ties.worse])
        tie = torch.arange(len(one), device=one.device) >= len(wins.better)
        return Terms(loss(scores.means[one], scores.means[other], tie, options), scores.contest[one])

    return terms


def _uncertainty(scores: Scores, pairs: Pairs, _: LossOptions) -> Tensor:
    if scores.log_variances is None:
        raise ValueError("the loss uncertainty needs a reward model with uncertain heads")
    better, worse = pairs
    spread = scores.log_variances
    return losses.uncertainty(scores.means[better], scores.means[worse], spread[better], spread[worse])


TermsOf: TypeAlias = Callable[[Scores, LossOptions], Terms]


class ContestLoss(NamedTuple):
    """terms: of scores that all have labels. needs: of a contest "numbers", "pairs" of any labels, or "differences"."""

    terms: TermsOf
    needs: str = "differences"


OPTIONS = {
    "margin": ("bradley_terry",),
    "label_smoothing": ("bradley_terry",),
    "temperature": ("hps",),
    "tie_share": ("davidson", "rao_kupper"),
    "huber_delta": ("regression",),
}
"""Each option with the losses that it is for."""

LOSSES: dict[str, ContestLoss] = {
    "bradley_terry": ContestLoss(
        _pairwise(
            lambda scores, pairs, options: losses.bradley_terry(
                scores.means[pairs.better],
                scores.means[pairs.worse],
                margin=options.margin,
                label_smoothing=options.label_smoothing,
            )
        )
    ),
    "log_exp": ContestLoss(
        _pairwise(lambda scores, pairs, _: losses.log_exp(scores.means[pairs.better], scores.means[pairs.worse]))
    ),
    "hps": ContestLoss(
        _with_ties(
            lambda one, other, tie, options: losses.hps(one, other, 1 - tie / 2, temperature=options.temperature)
        ),
        "pairs",
    ),
    "uncertainty": ContestLoss(_pairwise(_uncertainty)),
    "davidson": ContestLoss(
        _with_ties(lambda one, other, tie, options: losses.davidson(one, other, tie, tie_share=options.tie_share)),
        "pairs",
    ),
    "rao_kupper": ContestLoss(
        _with_ties(lambda one, other, tie, options: losses.rao_kupper(one, other, tie, tie_share=options.tie_share)),
        "pairs",
    ),
    "plackett_luce": ContestLoss(
        lambda scores, _: Terms(losses.plackett_luce(scores.means, scores.labels, scores.contest), scores.contest)
    ),
    "regression": ContestLoss(
        lambda scores, options: Terms(
            losses.regression(scores.means, scores.labels, huber_delta=options.huber_delta), scores.contest
        ),
        "numbers",
    ),
    "cross_entropy": ContestLoss(
        lambda scores, _: Terms(losses.cross_entropy(scores.means, scores.labels), scores.contest), "numbers"
    ),
}
"""By the name --loss_type gives them."""
