"""What a scalar reward model is made of, and what it learns by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCORE = "score"
"""The head of a model with one, and of labels that say no more than which answer is better."""


@dataclass(frozen=True)
class RewardModelArgs:
    """The reward model"""

    heads: str = SCORE
    """what is judged, a number each, named as the labels of the data are, such as helpful,safe"""
    pooling_method: Literal["last", "mean", "attn"] = "last"
    """which hidden states are scored: that of the last token, the mean of all, or their mean by learnt weights"""
    probing_layer: int = -1
    """compute only the first so many decoder layers, and leave the others out for good; -1: all"""
    value_prefix_head: str = SCORE
    """what the checkpoint calls the head's weights, as OpenRLHF's readers are told"""
    loss_type: Literal[
        "sigmoid", "logexp", "hps", "uncertainty", "davidson", "rao_kupper", "plackett_luce", "regression", "steps"
    ] = "sigmoid"
    """what is minimised: sigmoid is Bradley-Terry's -log sigmoid(better - worse); the manual has them all"""
    margin: float = 0.0
    """with loss_type sigmoid: by how much the better answer's score has to lie above the other's"""
    label_smoothing: float = 0.0
    """with loss_type sigmoid: the share of labels that are taken to be the wrong way round"""
    loss_temperature: float = 1.0
    """with loss_type hps: what differences of scores are divided by"""
    tie_share: float = 1 / 3
    """with loss_type davidson or rao_kupper: of equally good answers, how many are judged to be so"""
    huber_delta: float | None = None
    """with loss_type regression: beyond this error the loss grows linearly; default: the square of any error"""
    step_separator: str = "\n\n"
    """with loss_type steps: what stands between two steps of an answer, of those that are judged later, too"""
    placeholder_token: str | None = None
    """with loss_type steps: what stands behind each step in rows that have one text; default: they have lists"""
