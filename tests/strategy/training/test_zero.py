"""DeepSpeed's ZeRO on real processes: the same training run as one process that holds the model whole."""

from __future__ import annotations

import sys
from functools import partial
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
def whole(one_thread: None) -> Arrays:
    """The run of one process that holds the model whole: twenty steps of eight sequences at once."""
    return curve(Whole, 8)


def assert_same_run(outcomes: list[Arrays], reference: Arrays) -> None:
    """In float32: losses and norms to 1e-4, masters and moments to what AdamW makes of rounded gradients."""
    for outcome in outcomes:
        assert outcome.keys() == reference.keys()
        for key in ("loss", "grad_norm"):
            taken = len(outcome[key])
            numpy.testing.assert_allclose(outcome[key], reference[key][:taken], rtol=1e-4, atol=1e-6)
        if taken == len(reference["loss"]):
            for name in reference:
                numpy.testing.assert_allclose(outcome[name], reference[name], rtol=2e-3, atol=2e-4, err_msg=name)
        for name in outcome:
            assert numpy.array_equal(outcome[name], outcomes[0][name]), "all ranks say the same"


RUNS = [(world, size, stage) for world, size in ((1, 3), (2, 2), (2, 1), (4, 2)) for stage in STAGES]
BY_DEFAULT = {(1, 3, 3), (2, 2, 1), (2, 2, 2), (2, 2, 3), (2, 1, 2), (4, 2, 3)}
"""Of these each number of ranks, each size of micro-batches and each stage; the other pairs are proofs."""


@pytest.mark.parametrize(
    ("world", "size", "stage"),
    [pytest.param(*run, marks=[] if run in BY_DEFAULT else pytest.mark.proof) for run in RUNS],
)
def test_any_ranks_and_micro_batches_make_the_run_of_one_process(
    processes: Any, whole: Arrays, world: int, size: int, stage: int
) -> None:
    assert_same_run(processes(world).run(curve, in_shards(stage), size), whole)


def test_the_run_that_all_are_compared_with_learns_and_clips(whole: Arrays) -> None:
    assert min(whole["grad_norm"]) < CONFIG.max_norm < max(whole["grad_norm"])
    start = {name: tensor.numpy() for name, tensor in state(strategy(Whole)).items()}
    for name in start:
        assert abs(whole[name] - start[name]).max() > 1e-6, name
    assert all(whole[name] == 20 for name in start if name.startswith("adam.step."))


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
def test_where_things_lie_and_when_they_travel_changes_nothing(processes: Any, whole: Arrays, zero: Zero) -> None:
    assert_same_run(processes(2).run(curve, zero, 2, 5), whole)


def test_scoring_between_steps_changes_nothing(processes: Any, whole: Arrays) -> None:
    assert_same_run(processes(2).run(curve, in_shards(3), 2, 5, False, True), whole)


@pytest.mark.parametrize("offload", [False, pytest.param(True, marks=pytest.mark.proof)])
@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_computes_with_masters_in_float32(processes: Any, stage: int, offload: bool) -> None:
    outcome = processes(2).run(curve, in_shards(stage, adam_offload=offload), 2, 10, True)[0]
    reference = curve(Whole, 8, 10, True)
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
@pytest.mark.parametrize("stage", STAGES)
def test_a_bad_loss_or_gradient_of_one_rank_changes_nothing_anywhere(processes: Any, stage: int, offload: bool) -> None:
    for notes in processes(2).run(skipping, in_shards(stage, adam_offload=offload)):
        gradient, loss = "the gradient's norm is not finite", "rank 0: the loss is inf in micro-batch 1 of 3"
        assert notes == {"faults": [gradient, loss, gradient, loss], "unchanged": [True] * 4, "same": True}


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("zero", [*map(in_shards, STAGES), in_shards(3, adam_offload=True)], ids=str)
def test_a_resumed_run_has_the_bits_of_one_that_went_through(processes: Any, zero: Zero, bf16: bool) -> None:
    assert processes(2).run(resuming, zero, bf16) == [{"moved": True, "same": True}] * 2


def test_a_checkpoint_goes_from_two_ranks_to_one_process_to_two_and_to_four(
    processes: Any, whole: Arrays, tmp_path: Path
) -> None:
    three, alone, one = tmp_path / "three", tmp_path / "alone", tmp_path / "one"
    assert_same_run(processes(2).run(part, in_shards(3), range(5), None, three), whole)
    middle = part(Whole, range(5, 10), three, alone)
    numpy.testing.assert_allclose(middle["loss"], whole["loss"][5:10], rtol=1e-4)
    for outcome in processes(2).run(part, in_shards(1), range(10, 15), alone, one):
        numpy.testing.assert_allclose(outcome["loss"], whole["loss"][10:15], rtol=1e-4)
    end = processes(4).run(part, in_shards(3), range(15, 20), one, tmp_path / "end")
    last = whole | {key: whole[key][15:] for key in ("loss", "grad_norm")}
    assert_same_run(end, last)


def test_a_state_of_weights_stepped_unequally_often_is_refused(processes: Any) -> None:
    assert "AdamW counted [0.0, 3.0] steps" in processes(2).run(uneven_steps)[0]


def test_a_frozen_model_in_shards_is_the_model(processes: Any) -> None:
    expected = {"left": 0, "type": {"PolicyOutput"}, "outputs": True, "weights": True, "gathered": True}
    assert processes(2).run(frozen) == [expected] * 2


def test_weights_that_a_module_reads_without_calling_them_learn_in_shards(processes: Any) -> None:
    assert_same_run(processes(2).run(critic, in_shards(3)), critic(Whole))


def test_a_process_without_a_group_makes_its_own_and_other_models_keep_torchs_linear_function(
    whole: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    plain = nn.functional.linear
    assert not dist.is_initialized()
    try:
        alone = curve(in_shards(3), 4, 2)
        assert dist.get_world_size() == 1
    finally:
        dist.destroy_process_group()
    assert_same_run([alone], whole)
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
