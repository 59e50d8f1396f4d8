"""What runs inside SGLang's workers, through its own `custom_weight_loader`: taking weights and saying which.

SGLang hands `take` its model and a list of named tensors, on every worker alike. Ours is one empty tensor, whose name
is an instruction; the weights themselves come through shared memory or a channel.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from lightrft_strategy.engines.sync.broadcast import Channel
from lightrft_strategy.engines.sync.buckets import Slot, from_json, view
from lightrft_strategy.engines.sync.fingerprint import fingerprint
from lightrft_strategy.engines.sync.shared_memory import mapped


def instruction(method: str, arguments: Sequence[str], folder: str) -> str:
    """The name that has `take` call a method of every worker's WeightTaker.

    Each worker writes what the method returns, as JSON, into a file of the folder named by its rank; with "" for a
    folder into the channel's store.
    """
    return json.dumps([method, list(arguments), folder])


def answer_key(rank: int) -> str:
    """Under what a worker's answer lies in the channel's store."""
    return f"lightrft_answer/{rank}"


def take(model: Any, named_tensors: Sequence[tuple[str, Tensor]]) -> None:
    """Do as the names say, in order."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    for name, _ in named_tensors:
        method, arguments, folder = json.loads(name)
        _TAKER.model, _TAKER.rank = model, rank
        answer = json.dumps(getattr(_TAKER, method)(*arguments))
        if folder:
            (Path(folder) / str(rank)).write_text(answer)
        elif answer != "null":
            _TAKER.channel.store.set(answer_key(rank), answer)


class WeightTaker:
    """A hand-over is begin_weights, then any number of receive_* calls, then finish_weights. Arguments are text."""

    model: Any
    rank: int
    channel: Channel

    def begin_weights(self, version: str, mark: str) -> None:
        """Forget the last hand-over. mark: unless "", fill every parameter with a number that no weight has."""
        self.version, self.fingerprints, self.marked = int(version), dict[str, str](), bool(mark)
        self.seconds = 0.0
        for parameter in self.model.parameters() if self.marked else ():
            parameter.data.fill_(torch.finfo(parameter.dtype).max)

    def receive_shared(self, path: str, packing: str) -> None:
        """Take a bucket from memory that the trainer shares with this process."""
        device = next(iter(self.model.parameters())).device
        self._load(from_json(packing), mapped(path).to(device, copy=True))

    def join_channel(self, host: str, port: str, first_rank: str, world_size: str, backend: str, seconds: str) -> None:
        """Meet the trainer, as the worker of this rank after first_rank, in a group to broadcast through."""
        rank = int(first_rank) + self.rank
        self.channel = Channel(host, int(port), rank, int(world_size), backend, float(seconds))

    def receive_broadcast(self, size: str, packing: str) -> None:
        """Take a bucket of so many bytes from the group joined before."""
        self._load(from_json(packing), self.channel.take(int(size)))

    def finish_weights(self) -> dict[str, Any]:
        """Returns what a Received holds; missing are parameters that still hold nothing but the mark."""
        named: Iterable[tuple[str, Tensor]] = self.model.named_parameters() if self.marked else ()
        missing = sorted(name for name, tensor in named if bool((tensor == torch.finfo(tensor.dtype).max).all()))
        fingerprints = {"fingerprints": self.fingerprints, "fingerprint_seconds": self.seconds}
        return {"version": self.version, "missing": missing} | fingerprints

    def _load(self, slots: Sequence[Slot], buffer: Tensor) -> None:
        tensors = [(slot.names, view(slot, buffer)) for slot in slots]
        start = time.perf_counter()
        self.fingerprints |= {names[0]: fingerprint(tensor) for names, tensor in tensors}
        self.seconds += time.perf_counter() - start
        self.model.load_weights((name, tensor) for names, tensor in tensors for name in names)


_TAKER = WeightTaker()
