"""AdamW as every strategy uses it, its learning rate over the run, and the precision of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import cos, pi

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class OptimiserConfig:
    """learning_rate: the peak. total_steps: optimiser steps of the whole run, for warm-up and decay.

    schedule: what follows the warm-up: "constant", or "linear" or "cosine" to zero.
    max_norm: bound on the global L2 norm of the gradient; 0 leaves it alone.
    factors: how a weight's name begins, a point behind it -> what its learning rate is multiplied by; the first that
    fits holds.
    """

    learning_rate: float
    total_steps: int
    schedule: str = "constant"
    warmup_ratio: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_norm: float = 1.0
    factors: Mapping[str, float] = field(default_factory=dict[str, float])

    def factor(self, name: str) -> float:
        """What the learning rate of the weight of this name is multiplied by."""
        return next((factor for start, factor in self.factors.items() if f"{name}.".startswith(start)), 1.0)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of an optimiser step, 1 being the first."""
        warmup = round(self.warmup_ratio * self.total_steps)
        if step <= warmup:
            return self.learning_rate * step / warmup
        progress = min(1.0, (step - 1 - warmup) / max(1, self.total_steps - warmup))
        decay = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + cos(pi * progress)) / 2}
        return self.learning_rate * decay[self.schedule]


def set_precision(model: nn.Module, dtype: torch.dtype) -> None:
    """Convert a model's weights. Buffers stay: rotary frequencies in bfloat16 would misplace far positions.

    So do weights that are quantised: their whole numbers are codes.
    """
    for parameter in filter(torch.is_floating_point, model.parameters()):
        parameter.data = parameter.data.to(dtype)


def adamw(parameters: Mapping[str, nn.Parameter], config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2) that already remembers, namely nothing.

    Vectors (norms, biases) do not decay.
    """
    optimiser = unborn_adamw(parameters, config)
    remember_nothing(optimiser, parameters.values())
    return optimiser


def unborn_adamw(parameters: Mapping[str, nn.Parameter], config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW without moments, for a library that will put other tensors in the place of these parameters."""
    alike: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in parameters.items():
        alike.setdefault((config.factor(name), parameter.ndim >= 2), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": config.weight_decay if decays else 0.0, "factor": factor}
            for (factor, decays), members in alike.items()
        ],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )


def set_learning_rate(adam: torch.optim.AdamW, learning_rate: float) -> None:
    """What weights learn by from now on, each multiplied by its factor."""
    for group in adam.param_groups:
        group["lr"] = learning_rate * group["factor"]


def remember_nothing(optimiser: torch.optim.AdamW, parameters: Iterable[Tensor]) -> None:
    """Give AdamW the state it has before its first step: moments of zero for these parameters."""
    for parameter in parameters:
        optimiser.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
        }


@torch.no_grad()
def unscale(gradients: Iterable[Tensor], scale: float) -> None:
    """Divide gradients, in place, by what the loss was multiplied by."""
    if scale != 1:
        for gradient in gradients:
            gradient.div_(scale)


def clipped_step(adam: torch.optim.AdamW, norm: float, max_norm: float, learning_rate: float) -> None:
    """One step by the gradients on the optimiser's parameters, of this global norm, which max_norm bounds unless 0."""
    set_learning_rate(adam, learning_rate)
    for group in adam.param_groups:
        if 0 < max_norm < norm:
            for parameter in group["params"]:
                parameter.grad.mul_(max_norm / norm)
    adam.step()


def first_not_finite(gradients: Mapping[str, Tensor]) -> str:
    """What to say of gradients whose norm is not finite."""
    bad = next((name for name, grad in gradients.items() if not grad.isfinite().all()), "their sum of squares")
    return f"the gradient of {bad} is not finite"
