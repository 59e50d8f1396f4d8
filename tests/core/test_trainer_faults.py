"""What a loss or gradient that is not finite does to the loop: nothing but a warning, unless it goes on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from torch import Tensor

from lightrft_core import (
    ALGORITHMS,
    BatchSizes,
    TrainingDiverged,
    ppo_clip,
)
from lightrft_strategy.training.optimiser import OptimiserConfig

from .world import GRPO, same_bits, weights

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Faulty:
    """An objective that goes wrong from one call on, for a number of optimiser steps of one micro-batch each."""

    fault: Callable[[Tensor], Tensor]
    bad_calls: set[int]
    calls: int = 0

    def __call__(self, tokens, bounds):
        self.calls += 1
        objective, clipped = ppo_clip(tokens, bounds)
        return (objective + self.fault(tokens.logprobs) if self.calls in self.bad_calls else objective), clipped


def infinite_gradient(logprobs: Tensor) -> Tensor:
    """Zero, with a gradient of 0 * inf."""
    return (logprobs * 0).sqrt() * 0


FAULTS = {
    "the loss is nan": lambda logprobs: logprobs * math.nan,
    "the loss is -inf": lambda logprobs: logprobs.abs() * 0 + math.inf,
    "gradient of model.*is not finite": infinite_gradient,
}
ONE_MICRO_BATCH = BatchSizes(None, 1000, 10**6, 16)


@pytest.mark.parametrize("cause", FAULTS)
def test_a_fault_skips_the_step_and_leaves_weights_and_moments_as_they_were(make_trainer, cause: str) -> None:
    objective = Faulty(FAULTS[cause], {2})
    trainer = make_trainer(algorithm=replace(GRPO, objective=objective), num_steps=2, sizes=ONE_MICRO_BATCH)
    after_one: list[dict[str, Tensor]] = []
    record = trainer.recorder.record
    trainer.recorder.record = lambda *line: (after_one.append(weights(trainer)), record(*line))
    trainer.run()
    assert same_bits(after_one[0], after_one[1])
    assert [trainer.recorder.records[step]["optimiser/skipped_share"] for step in (1, 2)] == [0, 1]
    ((step, message),) = trainer.recorder.warnings
    assert step == 2
    assert re.search(f"policy: optimiser step 2 skipped: .*{cause}", message)
    assert "policy/loss" not in trainer.recorder.records[2]
    assert all(map(math.isfinite, trainer.recorder.records[2].values()))
    assert trainer.state.skipped_in_a_row == 1


def test_a_fault_in_a_later_micro_batch_undoes_the_earlier_ones(make_trainer) -> None:
    objective = Faulty(FAULTS["the loss is nan"], {3})
    trainer = make_trainer(algorithm=replace(GRPO, objective=objective), num_steps=1)
    before = weights(trainer)
    trainer.run()
    assert objective.calls == 3
    assert same_bits(weights(trainer), before)
    assert "micro-batch 3 of 3" in trainer.recorder.warnings[0][1]
    assert all(p.grad is None for p in trainer.strategy.held["policy"].module.parameters())


def test_training_goes_on_after_a_fault_as_if_it_had_not_been(make_trainer) -> None:
    constant = OptimiserConfig(1e-2, total_steps=100)
    faulty = replace(GRPO, objective=Faulty(FAULTS["the loss is nan"], {1}))
    hit = make_trainer(algorithm=faulty, num_steps=1, sizes=ONE_MICRO_BATCH, config=constant)
    hit.run()
    spared = make_trainer(num_steps=2, sizes=ONE_MICRO_BATCH, config=constant)
    spared.recorder.folder /= "spared"
    spared.state.step = hit.state.step
    hit.prompts.num_steps = 2
    hit.run()
    spared.run()
    assert same_bits(weights(hit), weights(spared))


def test_too_many_faults_in_a_row_end_the_run_and_say_why(make_trainer) -> None:
    faulty = replace(GRPO, objective=Faulty(FAULTS["the loss is nan"], set(range(2, 100))))
    trainer = make_trainer(algorithm=faulty, num_steps=50, sizes=ONE_MICRO_BATCH, max_skipped_steps=3)
    with pytest.raises(TrainingDiverged, match=r"3 optimiser steps in a row.*the loss is nan"):
        trainer.run()
    assert trainer.state.optimiser_steps == 4
    assert len(trainer.recorder.warnings) == 3


def test_faults_with_good_steps_between_them_do_not_end_the_run(make_trainer) -> None:
    faulty = replace(GRPO, objective=Faulty(FAULTS["the loss is nan"], {1, 2, 4, 5, 7, 8}))
    trainer = make_trainer(algorithm=faulty, num_steps=9, sizes=ONE_MICRO_BATCH, max_skipped_steps=3)
    trainer.run()
    assert trainer.state.step == 9
    assert len(trainer.recorder.warnings) == 6


def nan_policy(tokens: Any, bounds: Any) -> tuple[Tensor, Tensor]:
    objective, clipped = ppo_clip(tokens, bounds)
    return objective * math.nan, clipped


def test_a_critic_that_learns_does_not_hide_a_policy_that_never_does(make_trainer) -> None:
    broken = replace(ALGORITHMS["ppo"], kl_coef=0.0, objective=nan_policy)
    trainer = make_trainer(algorithm=broken, num_steps=50, sizes=ONE_MICRO_BATCH, max_skipped_steps=3)
    with pytest.raises(TrainingDiverged, match="3 optimiser steps in a row"):
        trainer.run()
    assert trainer.state.optimiser_steps == 3
    assert all("policy: optimiser step" in message for _, message in trainer.recorder.warnings)


def test_a_step_without_anything_to_learn_neither_adds_to_faults_in_a_row_nor_ends_them(make_trainer) -> None:
    broken = replace(GRPO, objective=nan_policy)
    trainer = make_trainer(
        lambda group, sample: 0.1 if group.prompt.uid.startswith("row2") else float(sample == 0),
        broken,
        num_steps=5,
        sizes=ONE_MICRO_BATCH,
        max_skipped_steps=2,
    )
    with pytest.raises(TrainingDiverged):
        trainer.run()
    assert trainer.state.optimiser_steps == 3
