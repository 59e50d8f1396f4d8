"""What sets each row of the table of algorithms apart, seen at work: runs with the piece and without, all else equal.

Pairs share their seed. Tasks and sizes were chosen so that the effect is there for other seeds as well.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any

import pytest

from lightrft_core import ALGORITHMS

Lines = Callable[..., list[dict[str, Any]]]
Answers = Callable[[int], list[list[dict[str, Any]]]]
Reward = Callable[[str], str]
Taught = Callable[[int], str]

pytestmark = pytest.mark.usefixtures("one_thread")

OFF_POLICY = {"train_batch_size": 16, "max_epochs": 4}
"""Sixteen optimiser steps on each batch of 64 answers."""
TEN_MORE = "10 + r.count('7') / 8"

SHOWN_BY = {
    "grpo": ["the_scale_of_rewards_does_not_matter_to_grpo", "the_reference_holds_the_policy"],
    "dr_grpo": ["a_constant_length_takes_the_reward_off_short_right_answers"],
    "dapo": ["clip_higher_", "dynamic_sampling_", "the_overlong_penalty_"],
    "high_entropy": ["the_share_of_tokens_that_learn_"],
    "gspo": ["gspos_tiny_bounds_"],
    "gspo_token": ["gspo_token_is_gspo_"],
    "gmpo": ["gmpos_geometric_mean_"],
    "cpgd": ["the_drift_keeps_the_policy_near_"],
    "cispo": ["cispos_clipped_tokens_"],
    "reinforce": ["without_a_baseline_"],
    "batch_mean": ["a_baseline_or_whitening_"],
    "reinforce_pp": ["a_baseline_or_whitening_", "the_reference_holds_the_policy"],
    "reinforce_pp_baseline": ["a_baseline_or_whitening_", "the_reference_holds_the_policy"],
    "rloo": ["a_baseline_or_whitening_", "the_reference_holds_the_policy"],
    "ppo": ["a_frozen_actor_", "the_value_clip_"],
}
"""Which tests below show a row's own piece, by the beginning of their names."""


def test_each_row_has_its_piece_shown() -> None:
    tests = [name.removeprefix("test_") for name in vars(sys.modules[__name__]) if name.startswith("test_")]
    assert SHOWN_BY.keys() == ALGORITHMS.keys()
    assert [
        piece for pieces in SHOWN_BY.values() for piece in pieces if not any(t.startswith(piece) for t in tests)
    ] == []


def column(lines: list[dict[str, Any]], name: str) -> list[float]:
    return [line[name] for line in lines if name in line]


def quick(*rows: str, of: Iterable[str]) -> list[Any]:
    """All rows, of which the quick ones are tried by default; in what this is about, the others do the same."""
    return [row if row in rows else pytest.param(row, marks=pytest.mark.proof) for row in of]


@pytest.mark.parametrize("row", quick("grpo", "ppo", of=[name for name, row in ALGORITHMS.items() if row.kl_coef]))
def test_the_reference_holds_the_policy_the_nearer_the_larger_its_coefficient(row: str, course: Lines) -> None:
    flags = {"algorithm": row, "max_steps": 8, "train_batch_size": 32}
    flags |= {"critic_learning_rate": 0.003} if row == "ppo" else {}
    loose, tight = (course(**flags, init_kl_coef=coefficient) for coefficient in (1e-6, 0.3))
    assert fmean(column(tight, "policy/kl_reference")[-3:]) < 0.6 * fmean(column(loose, "policy/kl_reference")[-3:])


def test_the_scale_of_rewards_does_not_matter_to_grpo_but_to_dr_grpo(course: Lines, reward: Reward) -> None:
    large = reward("8 * (r.count('7') / 8)")
    flags = {"init_kl_coef": 0.3, "max_norm": 0.0, "train_batch_size": 16, "max_steps": 2}
    names = ["policy/loss", "policy/entropy", "policy/kl_reference", "policy/kl_old", "optimiser/grad_norm"]
    for estimator, same in (("group_norm", True), ("dr_grpo", False)):
        one, eight = (course(advantage_estimator=estimator, **flags, **paid) for paid in ({}, {"reward_fn": large}))
        first, second = ([line[name] for line in lines for name in names] for lines in (one, eight))
        assert (first == pytest.approx(second, rel=0.05, abs=0.005)) is same
        if not same:
            assert eight[0]["optimiser/grad_norm"] > 1.3 * one[0]["optimiser/grad_norm"]


def test_a_constant_length_takes_the_reward_off_short_right_answers(course: Lines, reward: Reward) -> None:
    """The first character decides: a mean over each answer's own tokens pays short right answers more a token."""
    flags = {"algorithm": "dr_grpo", "reward_fn": reward("float(r[:1] == '7')"), "generate_max_len": 24}
    flags |= {"n_samples_per_prompt": 32, "train_batch_size": 64, "actor_learning_rate": 0.002, "max_steps": 14}
    fair, biased = (course(**flags, loss_agg_mode=mode) for mode in ("constant-length", "seq-mean-token-mean"))
    for lines in (fair, biased):
        assert lines[-1]["reward/mean"] > 0.9
    assert fmean(column(fair, "rollout/length_correct")[-3:]) > 15
    assert fmean(column(biased, "rollout/length_correct")[-3:]) < 13


def test_clip_higher_lets_improbable_right_answers_rise_and_keeps_the_policy_open(
    course: Lines, reward: Reward, taught: Taught
) -> None:
    """From a policy that writes sevens, to one that is paid for threes."""
    flags = {"algorithm": "dapo", "dynamic_sampling": False, "overlong_buffer": False, "pretrain": taught(4)}
    flags |= {"reward_fn": reward("r.count('3') / 8"), "actor_learning_rate": 0.0006, "max_steps": 8}
    flags |= {"n_samples_per_prompt": 16, "train_batch_size": 128, "max_epochs": 8}
    higher, level = course(**flags), course(**flags, eps_clip=0.2)
    assert higher[-1]["reward/mean"] > 1.1 * level[-1]["reward/mean"]
    assert fmean(column(higher, "policy/entropy")) > 1.02 * fmean(column(level, "policy/entropy"))


def test_dynamic_sampling_fills_the_batch_with_groups_that_teach(
    course: Lines, answers: Answers, reward: Reward
) -> None:
    flags = {"algorithm": "dapo", "overlong_buffer": False, "reward_fn": reward("float(r[:1] == '7')")}
    flags |= {"generate_max_len": 4, "train_batch_size": 16, "max_steps": 3}
    dynamic, fixed = course(**flags), course(**flags, dynamic_sampling=False)

    def teaching(number: int) -> list[int]:
        steps = answers(number)
        return [len({(a["prompt_uid"], a["occurrence"]) for a in step if a["advantage"]}) for step in steps]

    assert teaching(0) == [8, 8, 8]
    assert teaching(1)[0] <= 4
    assert dynamic[0]["group/kept_share"] < 0.6
    assert column(fixed, "group/kept_share") == [1, 1, 1]
    assert fixed[0]["group/zero_signal_share"] >= 0.5
    assert column(dynamic, "optimiser/no_signal_share") == [0, 0, 0]


def test_the_overlong_penalty_shortens_answers(course: Lines, reward: Reward) -> None:
    flags = {"algorithm": "dapo", "reward_fn": reward("float('7' in r)"), "train_batch_size": 32, "max_steps": 6}
    soft, free = course(**flags), course(**flags, overlong_buffer=False)
    assert soft[-1]["rollout/length_mean"] < 0.75 * soft[0]["rollout/length_mean"]
    assert free[-1]["rollout/length_mean"] > 1.05 * free[0]["rollout/length_mean"]
    assert soft[-1]["reward/part/overlong"] > -0.2 > -0.5 > soft[0]["reward/part/overlong"]


def test_the_share_of_tokens_that_learn_is_how_much_entropy_is_spent(course: Lines) -> None:
    flags = {"algorithm": "high_entropy", "dynamic_sampling": False, "overlong_buffer": False, "max_steps": 8}
    few, fifth, every = (course(**flags, train_batch_size=32, high_entropy_token_ratio=s) for s in (0.05, 0.2, 1.0))
    left = {share: fmean(column(lines, "policy/entropy")) for share, lines in ((5, few), (20, fifth), (100, every))}
    assert left[5] > 1.4 * left[100]
    assert fifth[-1]["reward/mean"] > 0.6, "a fifth of the tokens is enough to learn"
    assert column(fifth, "policy/entropy") != column(every, "policy/entropy")


def test_gspos_tiny_bounds_suit_answers_and_not_tokens(course: Lines) -> None:
    flags = {"algorithm": "gspo", "train_batch_size": 16, "max_steps": 8}
    answers, tokens = course(**flags), course(**flags, policy_loss_type="ppo", eps_clip_low_high=(3e-4, 4e-4))
    assert answers[-1]["reward/mean"] > tokens[-1]["reward/mean"] + 0.25
    assert fmean(column(answers, "policy/clip_share")) > fmean(column(tokens, "policy/clip_share")) > 0.2


def test_gspo_token_is_gspo_where_an_answers_tokens_share_their_advantage(course: Lines) -> None:
    one, other = (course(algorithm=row, train_batch_size=16, max_steps=4) for row in ("gspo", "gspo_token"))
    for line, same in zip(one, other, strict=True):
        assert line == pytest.approx(same, rel=1e-3, abs=1e-4)
    assert max(column(one, "policy/clip_share")) > 0.3


def test_gmpos_geometric_mean_is_not_carried_away_by_outliers(course: Lines) -> None:
    flags = {"algorithm": "gmpo", **OFF_POLICY, "max_steps": 1}
    (mean,), (tokens,) = course(**flags), course(**flags, policy_loss_type="ppo", eps_clip_low_high=(0.99, 1000.0))
    assert mean["policy/kl_old"] < 0.4 * tokens["policy/kl_old"]
    assert mean["policy/ratio_max"] < 0.75 * tokens["policy/ratio_max"]


def test_the_drift_keeps_the_policy_near_the_one_that_sampled(course: Lines) -> None:
    flags = {"algorithm": "cpgd", "train_batch_size": 16, "max_epochs": 2, "max_steps": 4}
    free, held = (column(course(**flags, drift_coef=coefficient), "policy/kl_old") for coefficient in (0.0, 1.0))
    assert held[0] < 0.85 * free[0]
    assert fmean(held[1:]) < 0.4 * fmean(free[1:])


def test_cispos_clipped_tokens_go_on_learning(course: Lines) -> None:
    flags = {"algorithm": "cispo", **OFF_POLICY, "eps_clip": 0.2, "actor_learning_rate": 0.001, "max_steps": 5}
    weighed, cut = course(**flags), course(**flags, policy_loss_type="ppo")
    assert weighed[0]["policy/clip_share"] > 0.5 < cut[0]["policy/clip_share"], "both leave the bounds"
    assert weighed[0]["policy/kl_old"] > 2 * cut[0]["policy/kl_old"]
    assert weighed[-1]["reward/mean"] > cut[-1]["reward/mean"] + 0.25


WHITENED = ["batch_mean", "rloo", "reinforce_pp", "reinforce_pp_baseline"]


@pytest.mark.parametrize("row", quick("batch_mean", "rloo", of=WHITENED))
def test_a_baseline_or_whitening_makes_up_for_rewards_that_are_all_high(
    row: str, course: Lines, reward: Reward
) -> None:
    lines = course(algorithm=row, reward_fn=reward(TEN_MORE), train_batch_size=16, max_steps=7)
    assert lines[-1]["reward/mean"] > 10.7


def test_without_a_baseline_rewards_that_are_all_high_hide_what_is_better(course: Lines, reward: Reward) -> None:
    high = {"reward_fn": reward(TEN_MORE), "train_batch_size": 16, "max_steps": 7}
    bare = {"reinforce": course(algorithm="reinforce", **high)}
    bare["reinforce_pp"] = course(algorithm="reinforce_pp", advantages_norm=False, **high)
    for lines in bare.values():
        assert lines[-1]["reward/mean"] < 10.45
    centred = {"reward_running_norm": True, "reward_running_norm_minus_mean": True}
    assert course(algorithm="reinforce", **high, **centred)[-1]["reward/mean"] > 10.8


def test_a_frozen_actor_stays_while_the_critic_learns(course: Lines, answers: Answers) -> None:
    flags = {"algorithm": "ppo", "critic_learning_rate": 0.003, "train_batch_size": 16, "max_epochs": 2}
    frozen = course(**flags, max_steps=8, freezing_actor_steps=6, n_samples_per_prompt=16)
    assert [line["step"] for line in frozen if "policy/loss" in line] == [7, 8]
    assert max(column(frozen, "reward/mean")[:7]) < 0.12 < 0.2 < frozen[7]["reward/mean"]
    explained = column(frozen, "critic/explained_variance")
    assert fmean(explained[4:7]) > fmean(explained[:3]) + 0.1
    starts = [Counter(answer["response"][:1] for answer in step).most_common(1)[0][1] for step in answers(0)[:7]]
    assert max(starts) < 0.5 * len(answers(0)[0]), "no way of beginning an answer takes over"


def test_the_value_clip_bounds_how_fast_values_move(course: Lines, reward: Reward) -> None:
    flags = {"algorithm": "ppo", "critic_learning_rate": 0.003, "freezing_actor_steps": 5, "max_steps": 6}
    flags |= {"reward_fn": reward(TEN_MORE), "train_batch_size": 32, "max_epochs": 4}
    held, free = (course(**flags, value_clip=clip)[4] for clip in (0.1, 10.0))
    assert held["critic/value_mean"] < 0.6 * free["critic/value_mean"]
    assert held["critic/clip_share"] > 0.6
    assert free["critic/clip_share"] == 0
