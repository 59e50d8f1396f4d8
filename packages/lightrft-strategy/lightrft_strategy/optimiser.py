"""AdamW over float32 master weights, whatever precision the model computes in."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, isfinite, pi
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class OptimiserConfig:
    """learning_rate: the peak. total_steps: optimiser steps of the whole run, for warm-up and decay.

    schedule: what follows the warm-up: "constant", or "linear" or "cosine" to zero.
    max_norm: bound on the global L2 norm of the gradient; 0 leaves it alone.
    """

    learning_rate: float
    total_steps: int
    schedule: str = "constant"
    warmup_ratio: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_norm: float = 1.0

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of an optimiser step, 1 being the first."""
        warmup = round(self.warmup_ratio * self.total_steps)
        if step <= warmup:
            return self.learning_rate * step / warmup
        progress = min(1.0, (step - 1 - warmup) / max(1, self.total_steps - warmup))
        decay = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + cos(pi * progress)) / 2}
        return self.learning_rate * decay[self.schedule]


def set_precision(model: nn.Module, dtype: torch.dtype) -> None:
    """Convert a model's weights. Buffers stay: rotary frequencies in bfloat16 would misplace far positions."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


class MasterOptimiser:
    """One model's trainable weights in float32, their gradients and their AdamW moments.

    In float32 the model's own parameters are the masters; in lower precision they are copies, rewritten after each
    step, and gradients are added up in float32 over micro-batches.
    """

    def __init__(self, model: nn.Module, config: OptimiserConfig, compute_dtype: torch.dtype) -> None:
        self.config = config
        named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.masters = {name: nn.Parameter(parameter.detach().float()) for name, parameter in named.items()}
        set_precision(model, compute_dtype)
        self.working = named
        self.copied = compute_dtype != torch.float32
        decayed = [master for master in self.masters.values() if master.ndim >= 2]
        plain = [master for master in self.masters.values() if master.ndim < 2]
        self.adam = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            fused=True,
        )
        self.attempts = 0

    def gather_gradients(self) -> None:
        """Move what the last backward pass left on the model onto the masters."""
        for name, parameter in self.working.items():
            if parameter.grad is None:
                continue
            master = self.masters[name]
            if master.grad is None:
                master.grad = parameter.grad.float()
            else:
                master.grad += parameter.grad
            parameter.grad = None

    def gradients(self) -> dict[str, Tensor]:
        return {name: master.grad for name, master in self.masters.items() if master.grad is not None}

    def step(self) -> tuple[float, str]:
        """One AdamW step. Returns the global gradient norm before clipping, and why nothing was done ("" if it was)."""
        gradients = self.gradients()
        norm = float(torch.nn.utils.get_total_norm(list(gradients.values())))
        if not isfinite(norm):
            bad = next((name for name, grad in gradients.items() if not grad.isfinite().all()), "their sum of squares")
            return norm, f"the gradient of {bad} is not finite"
        if 0 < self.config.max_norm < norm:
            for gradient in gradients.values():
                gradient.mul_(self.config.max_norm / norm)
        for group in self.adam.param_groups:
            group["lr"] = self.config.learning_rate_at(self.attempts)
        self.adam.step()
        self._publish()
        return norm, ""

    def clear(self) -> None:
        """Forget all gradients."""
        for tensor in [*self.masters.values(), *self.working.values()]:
            tensor.grad = None

    def _publish(self) -> None:
        if self.copied:
            with torch.no_grad():
                for name, parameter in self.working.items():
                    parameter.copy_(self.masters[name])

    def save(self, path: Path) -> None:
        """Weights, moments and counters in one safetensors file."""
        tensors = {f"master.{name}": master.detach() for name, master in self.masters.items()}
        for name, master in self.masters.items():
            for key, value in self.adam.state.get(master, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        save_file(tensors, path, metadata={"attempts": str(self.attempts)})

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """What save wrote. Raises ValueError if the file is of another model."""
        from safetensors import safe_open

        tensors = load_file(path)
        prefix = "master."
        stored = {(key.removeprefix(prefix), value.shape) for key, value in tensors.items() if key.startswith(prefix)}
        expected = {(name, master.shape) for name, master in self.masters.items()}
        if stored != expected:
            different = sorted({name for name, _ in stored ^ expected})[:3]
            raise ValueError(f"{path} holds other weights than this model: {', '.join(different)}")
        for name, master in self.masters.items():
            master.copy_(tensors[f"master.{name}"])
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"adam.{key}.{name}" in tensors]
            self.adam.state[master] = {key: tensors[f"adam.{key}.{name}"].to(master.device, copy=True) for key in keys}
        with safe_open(path, "pt") as file:
            self.attempts = int(file.metadata()["attempts"])
        self._publish()
