"""How the model is optimised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LearningArgs:
    """How weights follow gradients, whatever it is that is learnt."""

    micro_train_batch_size: int = 64
    """upper bound on sequences in a micro-batch"""
    max_tokens_per_micro_batch: int = 16384
    """upper bound on tokens in a micro-batch, padding included"""
    packing_samples: bool = False
    """compute a micro-batch as one row without padding"""
    compile: bool = False
    """learn by layers that torch.compile has compiled; the first steps are slow"""
    vision_learning_rate: float | None = None
    """peak learning rate of the towers that see and hear; default: the model's"""
    max_steps: int | None = None
    """stop after so many optimiser steps; default: when the data is used up"""
    lr_scheduler: Literal["constant", "linear", "cosine"] = "constant"
    """course of the learning rate after its warm-up"""
    lr_warmup_ratio: float = 0.03
    """share of the run in which the learning rate rises to its peak"""
    adam_betas: tuple[float, float] = (0.9, 0.95)
    """decay of AdamW's two moving averages"""
    adam_eps: float = 1e-8
    """AdamW's epsilon"""
    l2: float = 0.0
    """decoupled weight decay"""
    max_norm: float = 1.0
    """clip the global gradient norm; 0: off"""
    max_skipped_steps: int = 5
    """stop after so many non-finite optimiser steps in a row"""
    aux_loss_coef: float = 0.0
    """mixture of experts: weight of the loss that balances the load of the experts; 0: none"""
    enable_ema: bool = False
    """keep a moving average of the model's weights; it is saved as final_ema beside final"""
    ema_beta: float = 0.992
    """with enable_ema: what a step leaves of the average; the rest is the new weights"""


@dataclass(frozen=True)
class TrainArgs(LearningArgs):
    """Optimisation"""

    packing_samples: bool = False
    """compute a micro-batch as one row without padding; a prompt stands there once for all its answers"""
    compile: bool = False
    """learn by layers that torch.compile has compiled; the first steps are slow. Sampling stays as it is"""
    max_steps: int | None = None
    """stop after so many rollout batches; default: when the prompts are used up"""
    train_batch_size: int | None = None
    """samples per optimiser step; default: the whole rollout batch"""
    max_epochs: int = 1
    """passes over each rollout batch"""
    num_episodes: int = 1
    """passes over the prompts"""
    actor_learning_rate: float = 1e-6
    """peak learning rate of the model"""


@dataclass(frozen=True)
class TuneArgs(LearningArgs):
    """Optimisation"""

    train_batch_size: int = 128
    """examples per optimiser step"""
    max_epochs: int = 1
    """passes over the examples"""
    learning_rate: float = 5e-6
    """peak learning rate of the model"""
