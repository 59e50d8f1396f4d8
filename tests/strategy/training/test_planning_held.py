"""What shards are planned to take on a rank, against the tensors that two real ranks keep alive."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightrft_strategy.language import LanguageActor
from lightrft_strategy.planning import Holding, Subject
from lightrft_strategy.planning.holding import ZERO_BUCKET, Parts, keep
from lightrft_strategy.training.fsdp2 import FullyShard
from lightrft_strategy.training.zero import Zero

from .planning_runs import held_bytes, language_model

BUFFER = "exchange buffer of ZeRO"


def planned(holding: Holding) -> tuple[Subject, Parts]:
    with torch.device("meta"):
        model = language_model()
    subject, parts = Subject(LanguageActor(model), torch.bfloat16), Parts()
    keep(subject, holding, learns=True, name="policy", parts=parts)
    return subject, parts


def test_a_fully_sharded_model_takes_the_planned_bytes(processes: Any) -> None:
    for held in processes(2).run(held_bytes, FullyShard()):
        assert planned(Holding("fsdp", ranks=2))[1].total == pytest.approx(held, rel=0.02)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_model_in_the_hands_of_zero_takes_the_planned_bytes(processes: Any, stage: int) -> None:
    pytest.importorskip("deepspeed")
    subject, parts = planned(Holding("zero", ranks=2, stage=stage))
    buffer = parts.device.pop(BUFFER, 0)
    assert buffer == {1: 0, 2: 2 * ZERO_BUCKET, 3: 4 * ZERO_BUCKET}[stage]
    # At stage 2 the buffer comes with the first backward pass; at stage 3 small weights are whole after the first pass.
    there, small = (buffer, 2 * subject.weights.small) if stage == 3 else (0, 0)
    for held in processes(2).run(held_bytes, Zero(stage)):
        assert parts.total - small == pytest.approx(held - there, rel=0.02)
