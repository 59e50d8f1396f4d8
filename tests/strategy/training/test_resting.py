"""What rests off the device between its phases comes back as it was, and is missed by nothing meanwhile.

There is no accelerator here: "away" is a copy in shared memory, and what it was copied from is filled with NaN, so that
whatever still read the old place, or read in the wrong phase, would show. It has not been run on an accelerator.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightrft_core import ALGORITHMS, Algorithm, BatchSizes
from lightrft_core.experience import make_experience
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.placement import Placement
from lightrft_strategy.training import OptimiserConfig, TorchStrategy
from lightrft_strategy.training.replica import Replica
from lightrft_strategy.training.resting import Resting, carry, resting

from .recorded import language_model, recorded

pytestmark = pytest.mark.usefixtures("one_thread")

STEP = ("sample", "judge", "estimate", "optimise", "publish", "evaluate", "checkpoint")


def spoil(tensor: Tensor) -> None:
    if tensor.is_floating_point():
        tensor.fill_(float("nan"))


def away(tensor: Tensor) -> Tensor:
    copy = tensor.clone().share_memory_()
    spoil(tensor)
    return copy


def back(tensor: Tensor) -> Tensor:
    assert tensor.is_shared()
    copy = torch.empty_like(tensor).copy_(tensor)
    spoil(tensor)
    return copy


def strategy_of(bf16: bool) -> TorchStrategy:
    models: dict[str, nn.Module] = {
        "policy": LanguageActor(language_model()),
        "reference": LanguageActor(language_model(seed=1)),
        "critic": LanguageCritic(language_model(seed=2)),
    }
    config = OptimiserConfig(3e-3, 24)
    return TorchStrategy(models, {"policy": config, "critic": config}, bf16=bf16, averages={"policy": 0.9})


def policy_of(strategy: TorchStrategy) -> list[Tensor]:
    return [parameter.detach() for parameter in strategy.held["policy"].module.parameters()]


def run(strategy: TorchStrategy, placement: Placement) -> list[Any]:
    """What two steps compute, phase by phase; engines read the policy whenever they like."""
    algorithm: Algorithm = ALGORITHMS["ppo"]
    numbers: list[Any] = []
    for number in range(2):
        for name in ("sample", "judge"):
            with placement.phase(name):
                assert not any(weight.isnan().any() for weight in policy_of(strategy))
        with placement.phase("estimate"):
            steps, _ = make_experience(recorded(number), algorithm, strategy, BatchSizes(10, 4, 60, 8))
        with placement.phase("optimise"):
            for batches in steps:
                for model, loss in algorithm.losses().items():
                    report = strategy.train_step(model, batches, loss)
                    assert report.fault == ""
                    numbers.append((report.loss, report.grad_norm))
        for name in ("publish", "evaluate", "checkpoint"):
            with placement.phase(name):
                numbers.append([weight.clone() for weight in policy_of(strategy)])
        with placement.phase("checkpoint"):
            for model in ("policy", "critic"):
                numbers.append({key: value.clone() for key, value in strategy._state(model).items()})
    return numbers


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=pytest.mark.proof)])
def test_a_run_whose_parts_come_and_go_computes_the_bits_of_one_whose_parts_stay(bf16: bool) -> None:
    moved = strategy_of(bf16)
    parts = resting(moved, away=away, back=back)
    coming_and_going = run(moved, Placement(resting=parts))
    assert same(coming_and_going, run(strategy_of(bf16), Placement()))
    assert not any(part.here for part in parts), "a checkpoint reads what rests"
    for name, held in moved.held.items():
        for tensor in held.movable()[1]:
            assert tensor.is_shared() == (name != "policy")
    assert all(tensor.is_shared() for tensor in moved.held["policy"].movable()[0])


def test_the_copy_that_is_sampled_from_comes_back_as_it_was_and_is_refreshed_meanwhile_or_not() -> None:
    strategy = strategy_of(bf16=True)
    replica = Replica(LanguageActor(language_model(seed=3)).to(torch.bfloat16), strategy.held["policy"])
    replica.refresh()
    copy, *_ = parts = resting(strategy, replica, away=away, back=back)
    placement, policy = Placement(resting=parts), policy_of(strategy)
    for number in range(2):
        for name in STEP:
            with placement.phase(name):
                assert copy.here == (name in {"sample", "publish", "evaluate", "checkpoint"})
                if name == "optimise":
                    for weight in policy:
                        weight += number + 1
                if name == "publish":
                    replica.refresh()
                if copy.here:
                    assert all(map(torch.equal, replica.actor.parameters(), policy))
                else:
                    assert all(tensor.is_shared() for tensor in replica.tensors())
    with placement.phase("judge"):
        replica.refresh()
        assert all(map(torch.equal, replica.actor.parameters(), policy)), "an export at the end needs no phase"


def test_the_policys_weights_stay_and_masters_go_where_they_are_copies() -> None:
    for bf16 in (False, True):
        held = strategy_of(bf16).held["policy"]
        rests, stays = ({tensor.data_ptr() for tensor in tensors} for tensors in held.movable())
        assert {weight.data_ptr() for weight in held.module.parameters()} <= stays
        assert rests.isdisjoint(stays)
        assert ({master.data_ptr() for master in held.masters.values()} <= rests) == bf16


def test_each_part_is_there_in_its_phases_and_moves_once_a_border() -> None:
    moves: list[str] = []

    def part(name: str, *phases: str) -> Resting:
        def note(way: str) -> Any:
            return lambda tensor: (moves.append(f"{name} {way}"), tensor)[1]

        return Resting(frozenset(phases), lambda: [torch.zeros(1)], note("away"), note("back"))

    class Engine:
        def sleep(self) -> None:
            moves.append("engine sleeps")

    placement = Placement(Engine(), resting=[part("moments", "optimise"), part("reference", "estimate")])
    for _ in range(2):
        for name in STEP:
            moves.append(name)
            with placement.phase(name):
                pass
    first, second = moves[: moves.index("checkpoint") + 1], moves[moves.index("checkpoint") + 1 :]
    assert first == [
        *("sample", "moments away", "reference away", "judge"),
        *("estimate", "engine sleeps", "reference back"),
        *("optimise", "reference away", "moments back"),
        *("publish", "moments away", "evaluate", "checkpoint"),
    ]
    assert second == ["sample", "judge", *first[4:]], "what is away already stays away"


def test_tensors_that_are_one_memory_stay_one_and_parameters_stay_the_same_objects() -> None:
    weight = nn.Parameter(torch.randn(3))
    alias, other = nn.Parameter(weight.data), torch.ones(3)
    carry([weight, alias, other], lambda tensor: tensor.clone())
    with torch.no_grad():
        weight += 1
    assert torch.equal(weight, alias) and torch.equal(other, torch.ones(3))
