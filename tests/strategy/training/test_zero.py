"""DeepSpeed's ZeRO on real processes: the same training run as one process that holds the model whole."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
import torch.distributed as dist
from torch import nn

from lightrft_core import OneRank
from lightrft_strategy.training import OptimiserConfig, Whole
from lightrft_strategy.training.zero import Zero

from .zero_runs import CONFIG, Arrays, critic, curve, frozen, part, resuming, skipping, state, strategy, uneven_steps

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.usefixtures("one_thread")

STAGES = (1, 2, 3)
in_shards = partial(Zero, persistence_threshold=0)


@pytest.fixture(scope="module")
def whole(one_thread: None) -> Callable[[int], Arrays]:
    """whole(steps) -> the run of one process that holds the model whole, of eight sequences at once."""
    return cache(partial(curve, Whole, 8))


def assert_same_run(outcomes: list[Arrays], reference: Arrays) -> None:
    """In float32: losses and norms to 1e-4, masters and moments to what AdamW makes of rounded gradients."""
    for outcome in outcomes:
        assert outcome.keys() == reference.keys()
        for key in ("loss", "grad_norm"):
            numpy.testing.assert_allclose(outcome[key], reference[key], rtol=1e-4, atol=1e-6)
        for name in reference:
            numpy.testing.assert_allclose(outcome[name], reference[name], rtol=2e-3, atol=2e-4, err_msg=name)
            assert numpy.array_equal(outcome[name], outcomes[0][name]), "all ranks say the same"


RUNS = [(world, size, stage) for world, size in ((1, 3), (2, 2), (2, 1), (4, 2)) for stage in STAGES]
BY_DEFAULT = [(1, 3, 3), (2, 2, 1), (2, 2, 3), (2, 1, 2), (4, 2, 3)]
"""Of these each number of ranks, each size of micro-batches and each stage, for a few steps; the others are proofs."""
FEW, ALL = 6, 20
"""Steps of the schedule's twenty."""


@pytest.mark.parametrize(
    ("world", "size", "stage", "steps"),
    [
        *((*run, FEW) for run in BY_DEFAULT),
        *(pytest.param(*run, ALL, marks=pytest.mark.proof) for run in RUNS),
    ],
)
def test_any_ranks_and_micro_batches_make_the_run_of_one_process(
    processes: Any, whole: Callable[[int], Arrays], world: int, size: int, stage: int, steps: int
) -> None:
    assert_same_run(processes(world).run(curve, in_shards(stage), size, steps), whole(steps))


@pytest.mark.parametrize("steps", [FEW, ALL])
def test_the_run_that_all_are_compared_with_learns_and_clips(whole: Callable[[int], Arrays], steps: int) -> None:
    reference = whole(steps)
    assert min(reference["grad_norm"]) < CONFIG.max_norm < max(reference["grad_norm"])
    start = {name: tensor.numpy() for name, tensor in state(strategy(Whole)).items()}
    for name in start:
        assert abs(reference[name] - start[name]).max() > 1e-6, name
    assert all(reference[name] == steps for name in start if name.startswith("adam.step."))


@pytest.mark.parametrize(
    "zero",
    [
        *(in_shards(stage, overlap_comm=True) for stage in (2, 3)),
        *(in_shards(stage, adam_offload=True) for stage in STAGES),
        *(in_shards(stage, contiguous_gradients=False) for stage in STAGES),
        Zero(3, persistence_threshold=200),
    ],
    ids=str,
)
@pytest.mark.proof
def test_where_things_lie_and_when_they_travel_changes_nothing(
    processes: Any, whole: Callable[[int], Arrays], zero: Zero
) -> None:
    assert_same_run(processes(2).run(curve, zero, 2, FEW), whole(FEW))


def test_scoring_between_steps_changes_nothing(processes: Any, whole: Callable[[int], Arrays]) -> None:
    assert_same_run(processes(2).run(curve, in_shards(3), 2, 3, False, True), whole(3))


@pytest.mark.parametrize("offload", [False, pytest.param(True, marks=pytest.mark.proof)])
@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.proof), 3])
def test_bfloat16_computes_with_masters_in_float32(processes: Any, stage: int, offload: bool) -> None:
    outcome = processes(2).run(curve, in_shards(stage, adam_offload=offload), 2, FEW, True)[0]
    reference = curve(Whole, 8, FEW, True)
    numpy.testing.assert_allclose(outcome["loss"], reference["loss"], atol=0.02)
    numpy.testing.assert_allclose(outcome["grad_norm"], reference["grad_norm"], rtol=0.05)
    for name in reference:
        if name.startswith("master."):
            master = torch.from_numpy(outcome[name])
            assert not torch.equal(master, master.bfloat16().float())
            assert numpy.linalg.norm(outcome[name] - reference[name]) < 0.02 * numpy.linalg.norm(reference[name])


def test_masters_begin_with_all_their_bits_in_bfloat16_too(processes: Any) -> None:
    reference = {name: tensor.numpy() for name, tensor in state(strategy(Whole)).items()}
    for stage in STAGES:
        outcome = processes(2).run(curve, in_shards(stage), 2, 0, True)[0]
        assert all(numpy.array_equal(outcome[name], reference[name]) for name in reference)


@pytest.mark.parametrize("offload", [False, pytest.param(True, marks=pytest.mark.proof)])
@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.proof), 3])
def test_a_bad_loss_or_gradient_of_one_rank_changes_nothing_anywhere(processes: Any, stage: int, offload: bool) -> None:
    for notes in processes(2).run(skipping, in_shards(stage, adam_offload=offload)):
        gradient, loss = "the gradient's norm is not finite", "rank 0: the loss is inf in micro-batch 1 of 3"
        assert notes == {"faults": [gradient, loss, gradient, loss], "unchanged": [True] * 4, "same": True}


@pytest.mark.parametrize(
    ("stage", "offload", "bf16"),
    [
        *((1, False, True), (2, False, False), (3, False, False), (3, True, True)),
        *(
            pytest.param(*run, marks=pytest.mark.proof)
            for run in ((1, False, False), (2, False, True), (3, False, True), (3, True, False))
        ),
    ],
)
def test_a_resumed_run_has_the_bits_of_one_that_went_through(
    processes: Any, stage: int, offload: bool, bf16: bool
) -> None:
    zero = in_shards(stage, adam_offload=offload)
    assert processes(2).run(resuming, zero, bf16) == [{"moved": True, "same": True}] * 2


def test_a_checkpoint_goes_from_two_ranks_to_one_process_to_two_and_to_four(
    processes: Any, whole: Callable[[int], Arrays], tmp_path: Path
) -> None:
    three, alone, one = tmp_path / "three", tmp_path / "alone", tmp_path / "one"
    losses = whole(8)["loss"]
    assert_same_run(processes(2).run(part, in_shards(3), range(2), None, three), whole(2))
    middle = part(Whole, range(2, 4), three, alone)
    numpy.testing.assert_allclose(middle["loss"], losses[2:4], rtol=1e-4)
    for outcome in processes(2).run(part, in_shards(1), range(4, 6), alone, one):
        numpy.testing.assert_allclose(outcome["loss"], losses[4:6], rtol=1e-4)
    end = processes(4).run(part, in_shards(3), range(6, 8), one, tmp_path / "end")
    assert_same_run(end, whole(8) | {key: whole(8)[key][6:] for key in ("loss", "grad_norm")})


def test_a_state_of_weights_stepped_unequally_often_is_refused(processes: Any) -> None:
    assert "AdamW counted [0.0, 3.0] steps" in processes(2).run(uneven_steps)[0]


def test_a_frozen_model_in_shards_is_the_model(processes: Any) -> None:
    expected = {"left": 0, "type": {"PolicyOutput"}, "outputs": True, "weights": True, "gathered": True}
    assert processes(2).run(frozen) == [expected] * 2


def test_weights_that_a_module_reads_without_calling_them_learn_in_shards(processes: Any) -> None:
    assert_same_run(processes(2).run(critic, in_shards(3)), critic(Whole))


def test_a_process_without_a_group_makes_its_own_and_other_models_keep_torchs_linear_function(
    whole: Callable[[int], Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    plain = nn.functional.linear
    assert not dist.is_initialized()
    try:
        alone = curve(in_shards(3), 4, 2)
        assert dist.get_world_size() == 1
    finally:
        dist.destroy_process_group()
    assert_same_run([alone], whole(2))
    assert nn.functional.linear is plain


def test_a_frozen_model_below_stage_three_is_simply_whole() -> None:
    assert isinstance(Zero(2)(nn.Linear(2, 2), None, None, OneRank()), Whole)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Zero(0), "stages 1, 2 and 3, not 0"),
        (lambda: Zero(1, overlap_comm=True), "take stage 2 or 3"),
        (lambda: Zero(2)(nn.Linear(2, 2).double(), ANY, None, OneRank()), "this model is in torch.float64"),
        (lambda: Zero(2)(nn.Linear(2, 2), ANY, torch.float64, OneRank()), "not in torch.float64"),
        (lambda: Zero(3)(nn.Linear(2, 2, device="meta"), ANY, None, OneRank()), "load it with its weights"),
        (lambda: Zero(3)(nn.Linear(2, 2), ANY, None, SimpleNamespace(rank=0, world_size=2)), "needs as many processes"),
    ],
)
def test_what_cannot_be_done_is_said(wrong: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrong()


ANY = OptimiserConfig(1e-3, 10)


def test_a_missing_deepspeed_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(ImportError, match=r"lightrft-strategy\[deepspeed\]"):
        Zero(2)(nn.Linear(2, 2), ANY, None, OneRank())
