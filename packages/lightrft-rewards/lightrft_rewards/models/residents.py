"""Reward models on one device: those that fit together judge together, the rest take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lightrft_strategy.devices import device
from lightrft_strategy.training.resting import Carry, carry, to_device, to_host


@dataclass
class Residents:
    """Brings reward models to the device while they judge, and takes them away afterwards.

    models: the weights behind each scorer's name; names without any judge in the first round.
    room: bytes that may be used on the device, asked before each round's models come. stay: never take one away that
    is there, for which all have to fit. away, back: how weights travel.
    Is a Panel's `rounds`.
    """

    models: Mapping[str, nn.Module]
    room: Callable[[], float]
    stay: bool = False
    away: Carry = to_host
    back: Carry = to_device
    here: set[str] = field(default_factory=set[str])

    def __call__(self, names: Sequence[str]) -> Iterator[Sequence[str]]:
        """Rounds of names, the models of each on the device until the next is asked for."""
        light = [name for name in names if name not in self.models]
        heavy = {name: size(self.models[name]) for name in names if name in self.models}
        if self.stay:
            rounds = [list(names)]
        else:
            rounds = fitting(heavy, self.room() + sum(size(self.models[name]) for name in self.here)) or [[]]
            rounds[0] = light + rounds[0]
        for together in rounds:
            self._leave(self.here - set(together))
            self._come([name for name in together if name in heavy and name not in self.here])
            yield together
        if not self.stay:
            self.leave()

    def leave(self) -> None:
        """Take all away."""
        self._leave(set(self.here))

    def _come(self, names: Iterable[str]) -> None:
        for name in names:
            carry(tensors(self.models[name]), self.back)
            self.here.add(name)

    def _leave(self, names: Iterable[str]) -> None:
        for name in names:
            carry(tensors(self.models[name]), self.away)
            self.here.discard(name)


def fitting(sizes: Mapping[str, int], room: float) -> list[list[str]]:
    """Few rounds of names whose sizes together fit, the largest first, each in the first round that has room for it;
    what does not fit at all has a round of its own, to be tried."""
    rounds: list[list[str]] = []
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        for names in rounds:
            if sum(sizes[other] for other in names) + sizes[name] <= room:
                names.append(name)
                break
        else:
            rounds.append([name])
    return rounds


def size(model: nn.Module) -> int:
    """Bytes of its weights."""
    return sum(tensor.nbytes for tensor in tensors(model))


def tensors(model: nn.Module) -> list[Tensor]:
    """Its weights and buffers."""
    return [*model.parameters(), *model.buffers()]


def free_bytes() -> float:
    """Bytes that are free on the device; on the CPU there is nowhere else to be, so that everything fits."""
    where = device()
    if where.type == "cpu":
        return float("inf")
    return float(torch.accelerator.get_memory_info(where)[0])
