"""What shards and slices are planned to take on a rank, against the tensors that real ranks keep alive."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightrft_strategy.language import LanguageActor
from lightrft_strategy.planning import Holding, Subject
from lightrft_strategy.planning.holding import ZERO_BUCKET, Parts, keep
from lightrft_strategy.training.fsdp2 import FullyShard
from lightrft_strategy.training.zero import Zero

from .planning_runs import ANSWER, ANSWERS, PROMPT, held_bytes, language_model, sliced_pass

BUFFER = "exchange buffer of ZeRO"


def planned(holding: Holding) -> tuple[Subject, Parts]:
    with torch.device("meta"):
        model = language_model()
    subject, parts = Subject(LanguageActor(model), torch.bfloat16), Parts()
    keep(subject, holding, learns=True, name="policy", parts=parts)
    return subject, parts


@pytest.mark.parametrize(("ranks", "tp"), [(2, 1), (2, 2), pytest.param(4, 2, marks=pytest.mark.proof)])
def test_a_fully_sharded_model_takes_the_planned_bytes(processes: Any, ranks: int, tp: int) -> None:
    for held in processes(ranks).run(held_bytes, FullyShard(tp_size=tp), tp):
        assert planned(Holding("fsdp", ranks=ranks, tp=tp))[1].total == pytest.approx(held, rel=0.02)


@pytest.mark.parametrize(
    ("stage", "ranks", "tp"),
    [
        *((stage, 2, 1) for stage in (1, 2, 3)),
        *((stage, 2, 2) for stage in (1, 2)),
        *(pytest.param(stage, 4, 2, marks=pytest.mark.proof) for stage in (1, 2)),
    ],
)
def test_a_model_in_the_hands_of_zero_takes_the_planned_bytes(processes: Any, stage: int, ranks: int, tp: int) -> None:
    pytest.importorskip("deepspeed")
    subject, parts = planned(Holding("zero", ranks=ranks, stage=stage, tp=tp))
    buffer = parts.device.pop(BUFFER, 0)
    assert buffer == {1: 0, 2: 2 * ZERO_BUCKET, 3: 4 * ZERO_BUCKET}[stage]
    # At stage 2 the buffer comes with the first backward pass; at stage 3 small weights are whole after the first pass.
    there, small = (buffer, 2 * subject.weights.small) if stage == 3 else (0, 0)
    for held in processes(ranks).run(held_bytes, Zero(stage, tp_size=tp), tp):
        assert parts.total - small == pytest.approx(held - there, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_a_pass_over_slices_of_layers_takes_and_sends_the_planned_bytes(
    processes: Any, zero: bool, recompute: bool, dtype: torch.dtype
) -> None:
    if zero:
        pytest.importorskip("deepspeed")
    with torch.device("meta"):
        model = language_model()
    if recompute:
        model.gradient_checkpointing_enable()
        model.train()
    subject = Subject(LanguageActor(model), dtype).slice(2)
    counted = subject.training(PROMPT + ANSWERS * (ANSWER - 1), ANSWERS * ANSWER, keep=True)
    for real in processes(2).run(sliced_pass, 2, dtype, zero, recompute):
        assert counted.saved == pytest.approx(real.saved, rel=0.02)
        if dtype == torch.float32:  # in bfloat16 the CPU's matrix products allocate scratch besides
            assert counted.peak == pytest.approx(real.peak, rel=0.05)
        assert counted.sends == 2 * 1 / 2 * real.summed * dtype.itemsize
