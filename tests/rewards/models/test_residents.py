"""Reward models on one device: together where they fit, in turns where they do not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightrft_rewards.models.residents import Residents, fitting, size


class Device:
    """Counts what it holds; a copy of a tensor that is 'there' has its storage noted."""

    def __init__(self, room: int) -> None:
        self.room, self.held, self.most = room, set[int](), 0
        self.bytes: dict[int, int] = {}

    def bring(self, tensor: Tensor) -> Tensor:
        copy = tensor.clone()
        self.held.add(copy.data_ptr())
        self.bytes[copy.data_ptr()] = copy.nbytes
        self.most = max(self.most, self.used)
        return copy

    def take(self, tensor: Tensor) -> Tensor:
        self.held.discard(tensor.data_ptr())
        return tensor.clone()

    @property
    def used(self) -> int:
        return sum(self.bytes[place] for place in self.held)

    def free(self) -> float:
        return self.room - self.used


def model(weights: int) -> nn.Module:
    return nn.ParameterList([torch.zeros(weights)])


@pytest.mark.parametrize(("room", "rounds"), [(100, [["rules", "a", "b", "c"]]), (24, [["rules", "a"], ["b", "c"]])])
def test_models_come_for_their_round_and_leave_after_it(room: int, rounds: list[list[str]]) -> None:
    models = {"a": model(6), "b": model(3), "c": model(3)}
    assert [size(each) for each in models.values()] == [24, 12, 12]
    device, seen = Device(room), list[Sequence[str]]()
    residents = Residents(models, device.free, away=device.take, back=device.bring)
    for names in residents(["rules", "a", "b", "c"]):
        seen.append(names)
        assert device.used == sum(size(models[name]) for name in names if name in models)
    assert [sorted(names) for names in seen] == [sorted(names) for names in rounds]
    assert device.used == 0
    assert device.most <= room
    assert list(residents(["rules"])) == [["rules"]]


def test_where_models_stay_they_come_once() -> None:
    models, device = {"a": model(6), "b": model(3)}, Device(1000)
    residents = Residents(models, device.free, stay=True, away=device.take, back=device.bring)
    for _ in range(2):
        assert [list(names) for names in residents(["a", "b"])] == [["a", "b"]]
        assert device.used == 36
    assert len(device.bytes) == 2


@given(st.lists(st.integers(1, 50), max_size=8), st.integers(50, 120))
def test_rounds_hold_every_model_once_and_never_more_than_fits(sizes: list[int], room: int) -> None:
    named = {str(number): bytes_ for number, bytes_ in enumerate(sizes)}
    rounds = fitting(named, room)
    assert sorted(name for names in rounds for name in names) == sorted(named)
    assert all(sum(named[name] for name in names) <= room for names in rounds)


def test_what_does_not_fit_has_a_round_of_its_own() -> None:
    assert fitting({"large": 10, "small": 2, "tiny": 1}, 5) == [["large"], ["small", "tiny"]]
