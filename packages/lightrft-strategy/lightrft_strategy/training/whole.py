"""A model that every rank holds whole: one process, or data parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite, nan

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lightrft_core import Ranks
from lightrft_core.protocols import T
from lightrft_strategy.devices import device
from lightrft_strategy.training.optimiser import (
    OptimiserConfig,
    adamw,
    clipped_step,
    first_not_finite,
    set_precision,
    unscale,
)
from lightrft_strategy.training.ranks import first_fault

BUCKET_BYTES = 64 * 2**20
"""How much is added up over the ranks at once: enough to use the wire, little beside a model."""


class Whole:
    """A module with, if it is trained, its weights in float32, their gradients and their AdamW moments.

    Where the module computes in another precision its own parameters are copies, rewritten after each step, and
    gradients are added up in float32 over micro-batches. Gradients are added up over the ranks once a step: each loss
    is already its share of the step's loss. A weight that no micro-batch used has a gradient of zero.
    """

    scale = 1.0

    def __init__(
        self, module: nn.Module, config: OptimiserConfig | None, dtype: torch.dtype | None, ranks: Ranks
    ) -> None:
        self.module, self.config, self.dtype, self.ranks = module.to(device()), config, dtype, ranks
        if config is None:
            module.requires_grad_(False)
        self.working = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self.masters = {name: nn.Parameter(_promoted(parameter)) for name, parameter in self.working.items()}
        if dtype is not None:
            set_precision(module, dtype)
        self.copied = any(self.masters[name].dtype != parameter.dtype for name, parameter in self.working.items())
        if config is not None:
            self.adam = adamw(self.masters, config)

    def gathered(self, function: Callable[[], T]) -> T:
        """What function() gives: the module always has all its weights."""
        return function()

    def backward(self, loss: Tensor) -> None:
        """Add a micro-batch's gradient, which moves from the module onto the masters."""
        (loss * self.scale).backward()  # type: ignore[no-untyped-call]
        for name, parameter in self.working.items():
            if parameter.grad is None:
                continue
            master = self.masters[name]
            if master.grad is None:
                master.grad = parameter.grad.to(master.dtype)
            else:
                master.grad += parameter.grad
            parameter.grad = None

    def step(self, learning_rate: float) -> tuple[float, str]:
        """One AdamW step by the gradients added up over all ranks. Returns (norm before clipping, why not)."""
        assert self.config is not None
        gradients = {name: _gradient(master) for name, master in self.masters.items()}
        unscale(gradients.values(), self.scale)
        norm, fault = _norm(gradients)
        if self.ranks.world_size > 1:
            fault = first_fault(self.ranks.gather([fault]))
            if not fault:
                add_up(gradients.values())
                norm, fault = _norm(gradients)
        if not fault:
            clipped_step(self.adam, norm, self.config.max_norm, learning_rate)
            self.publish()
        self.clear()
        return nan if fault else norm, fault

    def clear(self) -> None:
        """Forget all gradients."""
        for tensor in [*self.masters.values(), *self.working.values()]:
            tensor.grad = None

    def movable(self) -> tuple[list[Tensor], list[Tensor]]:
        """Moments, and masters where these are copies; the module's own weights: see Held."""
        weights: list[Tensor] = [*self.module.parameters(), *self.module.buffers()]
        masters: list[Tensor] = [*self.masters.values()]
        if self.config is None:
            return [], weights
        moments = [value for master in masters for value in self.adam.state[master].values()]
        return (moments + masters, weights) if self.copied else (moments, weights + masters)

    def state(self) -> dict[str, Tensor]:
        """Masters and moments: see Held."""
        tensors = {f"master.{name}": master.detach() for name, master in self.masters.items()}
        for name, master in self.masters.items():
            tensors |= {f"adam.{key}.{name}": value for key, value in self.adam.state[master].items()}
        return tensors

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
        self.publish()

    def shards(self) -> list[Tensor]:
        """The masters: see Held."""
        return [master.detach() for master in self.masters.values()]

    def named(self, shards: Sequence[Tensor]) -> dict[str, Tensor]:
        """Those very tensors by name."""
        return dict(zip(self.masters, shards, strict=True))

    @torch.no_grad()
    def fill(self, shards: Sequence[Tensor], named: Mapping[str, Tensor]) -> None:
        """Write what `named` gave once."""
        for name, shard in self.named(shards).items():
            shard.copy_(named[name])

    @torch.no_grad()
    def publish(self) -> None:
        """Rewrite the module's own parameters where they are copies of the masters."""
        if self.copied:
            for name, parameter in self.working.items():
                parameter.copy_(self.masters[name])


def add_up(tensors: Iterable[Tensor], bucket_bytes: int = BUCKET_BYTES) -> None:
    """Replace tensors by their sums over all ranks, the same bits on each, in buckets of about so many bytes."""
    for bucket in _buckets(tensors, bucket_bytes):
        flat = torch.cat([tensor.flatten() for tensor in bucket]) if len(bucket) > 1 else bucket[0]
        dist.all_reduce(flat)
        if len(bucket) > 1:
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Iterable[Tensor], bucket_bytes: int) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(t.nbytes for t in [*bucket, tensor]) > bucket_bytes):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _gradient(master: nn.Parameter) -> Tensor:
    if master.grad is None:
        master.grad = torch.zeros_like(master)
    return master.grad


def _norm(gradients: Mapping[str, Tensor]) -> tuple[float, str]:
    """(global L2 norm, what is wrong with it)."""
    norm = float(torch.nn.utils.get_total_norm(list(gradients.values())))
    return norm, "" if isfinite(norm) else first_not_finite(gradients)


def _promoted(parameter: Tensor) -> Tensor:
    return parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32))
