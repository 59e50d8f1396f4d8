"""How long a rank itself computes, however long it then waits for the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lightrft_strategy.devices import device
from lightrft_strategy.training.fsdp2 import layers


class Stopwatch:
    """Times the forward passes of a model's decoder layers, or of the whole where it has no list of them.

    What gathers a layer's shards runs before and after the layer, and so is not in the time; nor is the backward pass,
    which takes each rank about the same multiple of it and exchanges gradients meanwhile.
    module: before it is held in shards; None: time nothing.
    """

    def __init__(self, module: nn.Module | None) -> None:
        self.on = False
        self.spans: list[tuple[Any, Any]] = []
        self.begun: Any = None
        for part in _parts(module) if module is not None else ():
            part.register_forward_pre_hook(self._begin)
            part.register_forward_hook(self._end, prepend=True)

    @contextmanager
    def running(self, on: bool) -> Iterator[None]:
        """Time what is computed within, if it is to be timed: an empty micro-batch is nobody's work."""
        self.on = on
        try:
            yield
        finally:
            self.on, self.begun = False, None

    def take(self) -> float:
        """Seconds since the last call; on an accelerator, its own, once it is done."""
        spans, self.spans = self.spans, []
        if not spans or device().type == "cpu":
            return float(sum(end - begin for begin, end in spans))
        spans[-1][1].synchronize()
        return float(sum(begin.elapsed_time(end) for begin, end in spans)) / 1e3

    def _begin(self, *_: object) -> None:
        if self.on:
            self.begun = _mark()

    def _end(self, *_: object) -> None:
        if self.on and self.begun is not None:
            self.spans.append((self.begun, _mark()))
            self.begun = None


def _parts(module: nn.Module) -> list[nn.Module]:
    try:
        return layers(module)
    except ValueError:
        return [module]


def _mark() -> Any:
    """Now, on the clock of whatever computes."""
    if device().type == "cpu":
        return time.perf_counter()
    event = torch.Event(device(), enable_timing=True)
    event.record()
    return event
