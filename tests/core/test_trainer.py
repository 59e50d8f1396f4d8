"""The loop, with a small world around it and a real strategy and model inside."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from lightrft_core import (
    FinishReason,
    Group,
    Prompt,
    RewardShaping,
    TrainState,
)
from lightrft_strategy.training.optimiser import OptimiserConfig

from .world import EVAL, GRPO, SIZES, N, all_equal, same_bits, weights

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_step_samples_judges_optimises_publishes_and_records_in_this_order(make_trainer) -> None:
    trainer = make_trainer()
    trainer.run()
    expected = ["load weights 0"]
    for step in (1, 2):
        expected += [f"sample {step}", f"generate {step}", f"sample {step} ends"]
        expected += [f"judge {step}", f"judge {step} ends", f"estimate {step}", f"estimate {step} ends"]
        expected += [f"optimise {step}", f"optimise {step} ends"]
        expected += [f"publish {step}", f"load weights {step}", f"publish {step} ends", f"record {step}"]
    assert trainer.recorder.events == [*expected, "checkpoint 2"]
    assert trainer.state.step == 2
    assert trainer.state.optimiser_steps == 2


def test_rewarded_answers_become_likelier_and_the_others_less_likely(make_trainer) -> None:
    trainer = make_trainer(num_steps=1)
    groups = trainer.engine.generate(trainer.prompts.batch(1), trainer.sampling, step=1)

    def likelihoods() -> list[list[float]]:
        model = trainer.strategy.held["policy"].module.model
        rows = []
        for group in groups:
            rows.append([])
            for rollout in group.rollouts:
                ids = torch.tensor([[*group.prompt.token_ids, *rollout.token_ids]], device=model.device)
                with torch.no_grad():
                    law = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
                chosen = law.gather(-1, ids[0, 1:, None])[len(group.prompt.token_ids) - 1 :]
                rows[-1].append(float(chosen.mean()))
        return rows

    before = likelihoods()
    trainer.run()
    for old, new in zip(before, likelihoods(), strict=True):
        assert new[0] > old[0]
        assert sum(new[1:]) < sum(old[1:])
    assert trainer.recorder.records[1]["optimiser/no_signal_share"] == 0
    assert trainer.recorder.records[1]["optimiser/grad_norm"] > 0
    assert trainer.recorder.records[1]["sync/version"] == 1, "what the engine says of its new weights is recorded"


def test_equal_rewards_change_no_weight_even_under_weight_decay(make_trainer) -> None:
    trainer = make_trainer(all_equal, config=OptimiserConfig(1e-2, total_steps=100, weight_decay=0.5))
    before = weights(trainer)
    trainer.run()
    assert same_bits(weights(trainer), before)
    assert trainer.strategy.reports == []
    assert trainer.strategy.forwards == []
    for numbers in trainer.recorder.records.values():
        assert numbers["optimiser/no_signal_share"] == 1
        assert numbers["group/zero_signal_share"] == 1
        assert all(map(math.isfinite, numbers.values()))
    assert trainer.strategy.attempts["policy"] == trainer.state.optimiser_steps == 2
    assert [step for step, text in trainer.recorder.warnings if "nothing to learn from" in text] == [1]


def test_equal_rewards_still_train_where_entropy_is_rewarded(make_trainer) -> None:
    trainer = make_trainer(all_equal, replace(GRPO, entropy_coef=0.1), num_steps=4)
    before = weights(trainer)
    trainer.run()
    assert not same_bits(weights(trainer), before)
    assert all(numbers["optimiser/no_signal_share"] == 0 for numbers in trainer.recorder.records.values())
    assert len(trainer.strategy.reports) == 4
    losses = [report.loss for report in trainer.strategy.reports]
    assert all(loss < 0 for loss in losses)


def test_a_rollout_batch_without_a_single_verdict_changes_nothing(make_trainer) -> None:
    trainer = make_trainer(lambda group, sample: None, replace(GRPO, entropy_coef=0.1))
    before = weights(trainer)
    trainer.run()
    assert same_bits(weights(trainer), before)
    assert trainer.recorder.records[1]["optimiser/no_signal_share"] == 1
    assert all(math.isfinite(v) for v in trainer.recorder.records[1].values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("train_batch_size", "max_epochs", "steps"), [(None, 1, 1), (None, 3, 3), (4, 1, 2), (3, 2, 6)]
)
def test_at_the_first_optimiser_step_old_and_new_policy_agree_to_the_bit(
    make_trainer, train_batch_size, max_epochs, steps, bf16
) -> None:
    sizes = replace(SIZES, train_batch_size=train_batch_size)
    trainer = make_trainer(num_steps=1, sizes=sizes, max_epochs=max_epochs, bf16=bf16)
    trainer.run()
    reports, seen = trainer.strategy.reports, trainer.strategy.seen
    assert len(reports) == trainer.state.optimiser_steps == steps
    assert reports[0].metrics.maxima["policy/ratio_max"] == 1.0
    for old, new in seen[0]:
        assert (old is None) == (steps == 1)
        assert old is None or torch.equal(old, new)
    for pairs in seen[1:]:
        assert any(not torch.equal(old, new) for old, new in pairs), "later steps are measured against the old policy"
    for epoch in range(1, max_epochs):
        first = zip(seen[0], seen[epoch * steps // max_epochs], strict=True)
        assert all(torch.equal(early[0], late[0]) for early, late in first)


def test_the_divergence_from_the_reference_starts_at_zero_and_grows(make_trainer) -> None:
    trainer = make_trainer(algorithm=replace(GRPO, kl_coef=0.01), num_steps=3)
    reference = [p.clone() for p in trainer.strategy.held["reference"].module.parameters()]
    trainer.run()
    divergence = [trainer.recorder.records[step]["policy/kl_reference"] for step in (1, 2, 3)]
    assert divergence[0] == 0
    assert divergence[2] > 1e-4
    assert set(trainer.strategy.forwards) == {"reference"}
    after = trainer.strategy.held["reference"].module.parameters()
    assert all(torch.equal(one, other) for one, other in zip(reference, after, strict=True))


@pytest.mark.parametrize(("eval_steps", "expected"), [(0, [0, 5]), (2, [0, 2, 4, 5]), (5, [0, 5])])
def test_the_policy_is_evaluated_before_the_first_step_when_due_and_after_the_last(
    make_trainer, eval_steps, expected
) -> None:
    prompts = [Prompt(f"held-out{i}", (), "", (40 + i, 50)) for i in range(3)]
    trainer = make_trainer(num_steps=5, eval_steps=eval_steps, eval_prompts=prompts, eval_sampling=EVAL)
    trainer.run()
    assert [int(e.split()[1]) for e in trainer.recorder.events if e.startswith("evaluated")] == expected
    assert [step for step, numbers in trainer.recorder.records.items() if "eval/accuracy" in numbers] == expected
    assert list(trainer.state.evaluations) == expected
    assert trainer.state.evaluations[0].n == 3
    asked = [event for event in trainer.recorder.events if event.endswith("greedily")]
    assert asked == [f"generate {step} greedily" for step in expected]


def test_without_held_out_prompts_nothing_is_evaluated(make_trainer) -> None:
    trainer = make_trainer(eval_steps=1)
    trainer.run()
    assert trainer.state.evaluations == {}
    assert 0 not in trainer.recorder.records


@pytest.mark.parametrize(("save_steps", "expected"), [(0, [5]), (2, [2, 4, 5]), (5, [5]), (1, [1, 2, 3, 4, 5])])
def test_checkpoints_are_written_when_due_and_after_the_last_step(make_trainer, save_steps, expected) -> None:
    trainer = make_trainer(num_steps=5, save_steps=save_steps)
    trainer.run()
    assert [int(e.split()[1]) for e in trainer.recorder.events if e.startswith("checkpoint")] == expected
    assert TrainState.load(trainer.recorder.folder / "step_5") == trainer.state


@pytest.mark.parametrize("bf16", [False, True])
def test_a_resumed_run_ends_with_the_bits_of_one_never_stopped(make_trainer, bf16, tmp_path) -> None:
    config = OptimiserConfig(1e-2, total_steps=4, schedule="cosine", warmup_ratio=0.5, weight_decay=0.1)
    through = make_trainer(num_steps=4, config=config, save_steps=2, bf16=bf16)
    through.run()
    resumed = make_trainer(num_steps=4, config=config, bf16=bf16, state=TrainState.load(tmp_path / "step_2"))
    resumed.recorder.folder /= "resumed"
    resumed.strategy.load(tmp_path / "step_2")
    resumed.run()
    assert list(resumed.recorder.records) == [3, 4]
    assert resumed.recorder.events[0] == "load weights 2", "an engine of its own begins with other weights"
    assert same_bits(weights(through), weights(resumed))
    assert {step: resumed.recorder.records[step] for step in (3, 4)} == {
        step: through.recorder.records[step] for step in (3, 4)
    }


def test_a_resumed_run_does_not_evaluate_its_beginning_again(make_trainer) -> None:
    prompts = [Prompt("held-out", (), "", (40, 50))]
    trainer = make_trainer(num_steps=3, eval_prompts=prompts, eval_sampling=EVAL, state=TrainState(step=1))
    trainer.run()
    assert list(trainer.recorder.records) == [2, 3]
    assert list(trainer.state.evaluations) == [3]


def test_answers_that_were_cut_off_are_paid_by_the_coefficient_before_advantages_are_estimated(make_trainer) -> None:
    trainer = make_trainer(num_steps=1, shaping=RewardShaping(truncated_coefficient=0.0))
    generate = trainer.engine.generate

    def cut_off_winners(*args: Any, **kwargs: Any) -> list[Group]:
        groups = generate(*args, **kwargs)
        for group in groups:
            group.rollouts[0].finish_reason = FinishReason.LENGTH
        return groups

    trainer.engine.generate = cut_off_winners
    trainer.run()
    assert trainer.recorder.records[1]["reward/mean"] == 0
    assert trainer.recorder.records[1]["group/zero_signal_share"] == 1
    assert trainer.recorder.records[1]["group/pass_rate"] == 1 / N
