"""What is optimised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class AlgorithmArgs:
    """The algorithm"""

    algorithm: str = "grpo"
    """row of the table of algorithms"""
    advantage_estimator: str | None = None
    """use this advantage estimator, such as group_norm; default: the algorithm's own"""
    eps_clip: float = 0.2
    """how far below 1 the probability ratio may fall, and above it may rise"""
    eps_clip_high: float | None = None
    """how far above 1 the ratio may rise, if other than eps_clip"""
    loss_agg_mode: Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "constant-length"] | None = None
    """how token losses become one number; default: the algorithm's own"""
    init_kl_coef: float = 0.0
    """weight of the divergence from the reference model; 0 loads no reference model"""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """estimator of that divergence"""
    entropy_coef: float = 0.0
    """weight of the entropy bonus"""
