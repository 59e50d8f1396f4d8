"""Rewards of steps arrive at the tokens that end them, and are worth what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightrft_core import ALGORITHMS, Metrics
from lightrft_core.advantages import group_norm, no_baseline
from lightrft_core.credit import credit_advantages, loss_token
from lightrft_core.experience import estimate_advantages
from lightrft_core.plan import training_sequences


def judged(build_group, credits, *, scores=(0.0, 0.0), masks=None):
    """A group of answers of five tokens whose verdicts credit some of them."""
    group = build_group([1, 2], [[3, 4, 5, 6, 7]] * len(credits), scores, masks=masks)
    for rollout, credit in zip(group.rollouts, credits, strict=True):
        rollout.verdict = replace(rollout.verdict, credit=tuple(credit))
        rollout.reward = rollout.verdict.score
    return group


def advantages(algorithm, groups):
    pairs = training_sequences(groups, algorithm.chosen)
    sequences = [sequence for _, sequence in pairs]
    for sequence in sequences:
        sequence.old_values = torch.zeros(len(sequence.advantages), dtype=torch.float64)
    estimate_advantages(groups, sequences, algorithm, Metrics())
    return [sequence.advantages.tolist() for sequence in sequences]


def plain(name: str):
    """An algorithm by its estimator alone, without divergence from a reference and without whitening."""
    algorithm = ALGORITHMS[name]
    return replace(
        algorithm, kl_coef=0.0, estimator=replace(algorithm.estimator, whiten=False), advantage_clip=None, gamma=1.0
    )


def test_reinforce_adds_each_step_up_to_its_own_tokens(build_group) -> None:
    algorithm = replace(plain("reinforce"), gamma=1.0)
    group = judged(build_group, [[(1, 0.5), (4, -1.0)], []], scores=(1.0, 0.25))
    found = advantages(algorithm, [group])
    assert found[0] == pytest.approx([0.5, 0.5, 0.0, 0.0, 0.0])
    assert found[1] == pytest.approx([0.25] * 5)


def test_grpo_compares_a_groups_steps_with_each_other(build_group) -> None:
    """DeepSeekMath's process supervision: the sum of the normalised rewards of the steps that end at or behind it."""
    group = judged(build_group, [[(1, 0.9), (4, 0.1)], [(2, 0.5)]])
    other = judged(build_group, [[(0, 7.0)], [(3, 7.0)]])
    rewards = torch.tensor([0.9, 0.1, 0.5], dtype=torch.float64)
    worth = ((rewards - rewards.mean()) / (rewards.std() + 1e-6)).tolist()
    last = judged(build_group, [[(0, 1.0)], [(3, -1.0)]])
    found = advantages(plain("grpo"), [group, other, last])
    assert found[0] == pytest.approx([worth[0] + worth[1]] * 2 + [worth[1]] * 3)
    assert found[1] == pytest.approx([worth[2]] * 3 + [0.0] * 2)
    assert found[2] == found[3] == [0.0] * 5
    assert found[4] == pytest.approx([0.5**0.5, 0, 0, 0, 0], abs=1e-5)
    assert found[5] == pytest.approx([-(0.5**0.5)] * 4 + [0], abs=1e-5)


def test_a_critic_sees_the_rewards_where_they_arrive(build_group) -> None:
    algorithm = replace(plain("ppo"), lambd=0.5, gamma=0.9)
    group = judged(build_group, [[(1, 0.5)], []], scores=(1.0, 0.0))
    step = 0.9 * 0.5
    from_last = [step ** (4 - place) for place in range(5)]
    from_step = [0.5 * step ** (1 - place) if place <= 1 else 0.0 for place in range(5)]
    expected = [one + other for one, other in zip(from_last, from_step, strict=True)]
    assert advantages(algorithm, [group])[0] == pytest.approx(expected)


def test_a_reward_of_a_token_that_is_not_the_policys_goes_to_the_one_before(build_group) -> None:
    masks = [[False, True, False, False, True], [True] * 5]
    group = judged(build_group, [[(0, 1.0), (3, 10.0), (4, 100.0)], []], masks=masks)
    assert advantages(plain("reinforce"), [group])[0] == pytest.approx([111.0, 100.0])
    assert [loss_token(masks[0], token) for token in range(5)] == [0, 0, 0, 0, 1]
    with pytest.raises(ValueError, match="token 5 of an answer of 5"):
        loss_token(masks[0], 5)


def test_answers_without_credit_have_none(build_group) -> None:
    group = build_group([1], [[2, 3], [4, 5]], [1.0, None])
    assert credit_advantages([group], no_baseline) == {}
    assert credit_advantages([], group_norm) == {}
