"""Weights on their way to the workers of a server: bucket by bucket, the next packed while one is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from lightrft_strategy.engines.backend import EngineTimeout
from lightrft_strategy.engines.server_process import free_port
from lightrft_strategy.engines.sync.broadcast import Channel
from lightrft_strategy.engines.sync.buckets import buckets, layout, pack, to_json
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received
from lightrft_strategy.engines.sync.shared_memory import shared_bucket


class Rpc(Protocol):
    """Call a method of all workers with text; returns one answer per worker."""

    def __call__(self, method: str, *arguments: str) -> list[Any]: ...


@dataclass(frozen=True)
class Parcel:
    """A packed bucket. call: the worker's method that takes it, and its arguments.

    push: what we do meanwhile. held: what may be freed once the call has ended.
    """

    call: tuple[str, ...]
    push: Callable[[], None] = lambda: None
    held: ExitStack = field(default_factory=ExitStack)


Carrier = Callable[[Sequence[Published]], Parcel]


def shared_memory(bucket: Sequence[Published]) -> Parcel:
    """A Carrier to workers on this machine."""
    held = ExitStack()
    path, packing = held.enter_context(shared_bucket(bucket))
    return Parcel(("receive_shared", path, packing), held=held)


class Broadcast:
    """A Carrier to workers anywhere, through a group that outlasts the hand-over.

    host: where the workers reach this process. Raises EngineTimeout if the workers do not join in time.
    """

    def __init__(self, rpc: Rpc, host: str, workers: int, backend: str, seconds: float) -> None:
        port, size = free_port(), workers + 1
        arguments = ("join_channel", host, str(port), "1", str(size), backend, str(seconds))
        with ThreadPoolExecutor(1) as pool:
            joining = pool.submit(rpc, *arguments)
            self.channel: Channel = together(joining, lambda: Channel(host, port, 0, size, backend, seconds))
            joining.result()

    def __call__(self, bucket: Sequence[Published]) -> Parcel:
        slots, size = layout(bucket)
        buffer = torch.empty(size, dtype=torch.uint8, device=self.channel.device)
        pack(bucket, slots, buffer)
        return Parcel(("receive_broadcast", str(size), to_json(slots)), lambda: self.channel.send(buffer))


def together(called: Future[Any], ours: Callable[[], Any]) -> Any:
    """Do our part of what the workers were called to do with us.

    Raises what the call raised if that is why our part failed, EngineTimeout if the call itself did not fail.
    """
    try:
        return ours()
    except RuntimeError as error:
        called.result()
        raise EngineTimeout(f"the workers did not take part in a hand-over: {error}") from error


def hand_over(rpc: Rpc, version: int, tensors: Iterable[Published], carrier: Carrier) -> list[Received]:
    """Send all tensors. Returns what each worker says it holds."""
    loading: Future[None] | None = None
    with ThreadPoolExecutor(1) as pool:
        for bucket in buckets(tensors):
            parcel = carrier(bucket)
            if loading is not None:
                loading.result()
            loading = pool.submit(_load, rpc, parcel)
            together(loading, parcel.push)
        if loading is not None:
            loading.result()
    return [Received(**worker) for worker in rpc("finish_weights")]


def _load(rpc: Rpc, parcel: Parcel) -> None:
    with parcel.held:
        rpc(*parcel.call)
