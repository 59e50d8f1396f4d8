"""The loop under algorithms that ask for more: replaced groups, a critic, a teacher, a steered coefficient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lightrft_core import (
    ALGORITHMS,
    AdaptiveKL,
    DynamicSampling,
    Group,
    Metrics,
    RewardShaping,
    RolloutFilter,
    TrainState,
)
from lightrft_strategy.training.optimiser import OptimiserConfig

from .world import GRPO, SIZES, N, all_equal, one_winner, weights

pytestmark = pytest.mark.usefixtures("one_thread")

DYNAMIC = replace(GRPO, dynamic_sampling=DynamicSampling())


def even_spares_win(group: Group, sample: int) -> float:
    """No signal in the step's own prompts, nor in every other spare one."""
    uid = group.prompt.uid
    return float(uid.startswith("spare") and int(uid[5:]) % 2 == 0 and sample == 0)


def test_groups_without_signal_are_replaced_until_the_batch_is_full(make_trainer) -> None:
    trainer = make_trainer(even_spares_win, DYNAMIC)
    trainer.run()
    sampled = [event for event in trainer.recorder.events if event.startswith("generate")]
    assert sampled == ["generate 1"] * 3 + ["generate 2"] * 4, "2 prompts, spares 0 1, 2; 2 prompts, spares 3 4, 5, 6"
    assert trainer.state.spare_prompts == 7
    assert trainer.recorder.records[1]["group/kept_share"] == 2 / 5
    assert trainer.recorder.records[1]["optimiser/no_signal_share"] == 0
    assert trainer.recorder.warnings == []


def test_a_batch_that_stays_short_says_so_and_is_learnt_from_all_the_same(make_trainer) -> None:
    trainer = make_trainer(even_spares_win, replace(GRPO, dynamic_sampling=DynamicSampling(max_rounds=2)), num_steps=1)
    trainer.run()
    assert trainer.recorder.warnings == [(1, "1 groups short of a full batch after 2 rounds of sampling")]
    assert len(trainer.strategy.reports) == 1
    assert trainer.state.spare_prompts == 2


def test_a_batch_without_any_useful_group_skips_its_step(make_trainer) -> None:
    trainer = make_trainer(all_equal, DYNAMIC, num_steps=1)
    before = weights(trainer)
    trainer.run()
    after = weights(trainer)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert trainer.recorder.records[1]["group/kept_share"] == 0
    assert trainer.recorder.records[1]["optimiser/no_signal_share"] == 1


def test_a_resumed_run_draws_the_spare_prompts_it_would_have_drawn(make_trainer, tmp_path) -> None:
    through = make_trainer(even_spares_win, DYNAMIC, num_steps=2, save_steps=1)
    through.run()
    resumed = make_trainer(even_spares_win, DYNAMIC, state=TrainState.load(tmp_path / "step_1"))
    resumed.recorder.folder /= "resumed"
    resumed.strategy.load(tmp_path / "step_1")
    resumed.run()
    assert resumed.recorder.records[2] == through.recorder.records[2]
    assert resumed.state == through.state


def test_a_critic_learns_alone_while_the_actor_is_frozen(make_trainer) -> None:
    ppo = replace(ALGORITHMS["ppo"], kl_coef=0.0)
    trainer = make_trainer(one_winner, ppo, num_steps=3, freezing_actor_steps=2)
    before = {name: p.detach().clone() for name, p in trainer.strategy.held["policy"].module.named_parameters()}
    published: list[bool] = []
    load = trainer.engine.load_weights

    def watch(version: int) -> Metrics:
        policy = dict(trainer.strategy.held["policy"].module.named_parameters())
        published.append(all(torch.equal(policy[name], before[name]) for name in before))
        return load(version)

    trainer.engine.load_weights = watch
    trainer.run()
    assert published == [True, True, True, False], "once before the first step"
    assert "policy/loss" not in trainer.recorder.records[2]
    assert {"critic/loss", "critic/explained_variance"} <= trainer.recorder.records[2].keys()
    assert trainer.strategy.attempts["critic"] == 3
    assert trainer.strategy.attempts["policy"] == 1
    assert trainer.strategy.held["critic"].module.value_head.weight.abs().max() > 0
    assert trainer.strategy.forwards == ["critic"] * len(trainer.strategy.forwards)


def test_the_divergence_in_the_reward_needs_the_policy_and_the_reference_first(make_trainer) -> None:
    trainer = make_trainer(one_winner, replace(ALGORITHMS["reinforce_pp"], kl_coef=0.5), num_steps=2)
    trainer.run()
    assert set(trainer.strategy.forwards) == {"policy", "reference"}
    assert trainer.strategy.reports[0].metrics.maxima["policy/ratio_max"] == 1.0
    assert trainer.recorder.records[2]["policy/kl_reference"] > 0


def test_a_teacher_pulls_the_policy_towards_itself_without_any_reward(make_trainer) -> None:
    algorithm = replace(GRPO, teacher_kl_coef=1.0)
    trainer = make_trainer(all_equal, algorithm, num_steps=12, config=OptimiserConfig(1e-3, 100))
    first = trainer.prompts.batch(1)
    trainer.prompts.batch = lambda step: first
    trainer.run()
    assert trainer.recorder.records[12]["policy/loss"] < 0.8 * trainer.recorder.records[1]["policy/loss"]
    assert "policy/kl_teacher" in trainer.recorder.records[12]


@pytest.mark.parametrize(("target", "rises"), [(1e-9, True), (1e9, False)])
def test_the_coefficient_is_steered_by_the_measured_divergence(make_trainer, target: float, rises: bool) -> None:
    adaptive = replace(GRPO, kl_coef=0.1, adaptive_kl=AdaptiveKL(target, horizon=80.0))
    trainer = make_trainer(one_winner, adaptive, num_steps=3)
    trainer.run()
    samples = 2 * N
    factors = [1 - 0.2 * samples / 80, 1 + 0.2 * samples / 80]
    first = factors[0]  # on the first step the policy is its reference: the divergence is 0
    expected = 0.1 * first * factors[rises] ** 2
    assert trainer.state.kl_coef == pytest.approx(expected)


def test_only_the_best_answers_enter_the_loss_but_all_enter_the_baseline(make_trainer) -> None:
    keep_two = replace(GRPO, chosen=RolloutFilter(keep_best=2))
    seen: dict[str, Any] = {}
    for name, algorithm in (("all", GRPO), ("best", keep_two)):
        trainer = make_trainer(lambda group, sample: float(sample), algorithm, num_steps=1, sizes=SIZES)
        trainer.recorder.folder /= name
        record = trainer.recorder.record
        trainer.recorder.record = lambda step, numbers, groups, name=name, record=record: (
            seen.update({name: [[r.advantage for r in group.rollouts] for group in groups]}),
            record(step, numbers, groups),
        )
        trainer.run()
    for everyone, best in zip(seen["all"], seen["best"], strict=True):
        assert best == [0.0, 0.0, *everyone[2:]]


def test_dapo_as_it_stands_in_the_table_punishes_answers_near_the_budget(make_trainer) -> None:
    trainer = make_trainer(one_winner, ALGORITHMS["dapo"], num_steps=1)
    generate, budget = trainer.engine.generate, trainer.sampling.max_new_tokens

    def as_long_as_allowed(*args: Any, **kwargs: Any) -> list[Group]:
        groups = generate(*args, **kwargs)
        for rollout in (rollout for group in groups for rollout in group.rollouts):
            rollout.token_ids, rollout.logprobs = [5] * budget, [-1.0] * budget
            rollout.loss_mask = [True] * budget
        return groups

    trainer.engine.generate = as_long_as_allowed
    trainer.run()
    assert trainer.recorder.records[1]["reward/part/overlong"] == -1


def test_rewards_are_brought_to_scale_before_advantages_and_the_metrics_show_them_unscaled(make_trainer) -> None:
    shaping = RewardShaping(running_norm=True, running_mean=True)
    trainer = make_trainer(lambda group, sample: 100.0 + sample, shaping=shaping, num_steps=1)
    groups: list[Group] = []
    record = trainer.recorder.record
    trainer.recorder.record = lambda step, numbers, seen: (groups.extend(seen), record(step, numbers, seen))
    trainer.run()
    rewards = torch.tensor([[rollout.reward for rollout in group.rollouts] for group in groups], dtype=torch.float64)
    assert rewards.mean() == pytest.approx(0, abs=1e-9)
    assert rewards.std() == pytest.approx(1, rel=1e-6)
    assert trainer.recorder.records[1]["reward/mean"] == 101.5
