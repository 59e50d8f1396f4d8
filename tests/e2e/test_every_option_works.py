"""The options that go with any algorithm, seen at work in runs of a tiny model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

Lines = Callable[..., list[dict[str, Any]]]
Answers = Callable[[int], list[list[dict[str, Any]]]]
Reward = Callable[[str], str]
Taught = Callable[[int], str]

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN: dict[str, Any] = {"init_kl_coef": 0.0, "train_batch_size": 32}
"""GRPO without its reference model, two optimiser steps a batch."""


def column(lines: list[dict[str, Any]], name: str) -> list[float]:
    return [line[name] for line in lines if name in line]


def by_prompt(step: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups = defaultdict(list)
    for answer in step:
        groups[answer["prompt_uid"], answer["occurrence"]].append(answer)
    return list(groups.values())


def test_fire_makes_first_tokens_diverse_and_records_the_law_they_were_drawn_from(
    course: Lines, answers: Answers, taught: Taught
) -> None:
    """From a policy that has all but settled on how to begin."""
    flags = {**PLAIN, "pretrain": taught(4), "max_steps": 1, "n_samples_per_prompt": 16}
    usual, fire = course(**flags), course(**flags, use_fire=True)
    beginnings = [
        fmean(len({a["token_ids"][0] for a in group}) for group in by_prompt(answers(number)[0])) for number in (0, 1)
    ]
    assert beginnings[1] > 7 > 4 > beginnings[0]
    (step,) = answers(1)
    assert fmean(a["logprobs"][0] for a in step) == pytest.approx(-log(16), abs=0.15), "nearly even over 16 tokens"
    assert fmean(logprob for a in step for logprob in a["logprobs"][1:]) > -0.6, "the rest is drawn as usual"
    assert fire[0]["engine/logprob_gap_max"] > 2 > 1e-3 > usual[0]["engine/logprob_gap_max"]


@pytest.mark.parametrize("correction", ["enable_vllm_is_correction", "use_icepop"])
def test_a_correction_bounds_the_weights_of_boldly_drawn_tokens_and_the_run_learns(
    correction: str, course: Lines
) -> None:
    flags = {**PLAIN, "use_fire": True, "first_token_top_k": 0, "max_steps": 8}
    lines, uncorrected = course(**flags, **{correction: True}), course(**flags)
    assert min(column(lines, "engine/weight_touched_share")[:4]) > 0
    assert lines[0]["policy/loss"] != uncorrected[0]["policy/loss"]
    assert all(line["optimiser/skipped_share"] == 0 for line in lines)
    assert lines[-1]["reward/mean"] > lines[0]["reward/mean"] + 0.4


def test_icepop_leaves_out_tokens_whose_law_was_cut_and_learns_from_the_others(course: Lines) -> None:
    lines = course(**PLAIN, top_k=4, use_icepop=True, max_steps=8)
    assert lines[0]["engine/weight_touched_share"] > 0.3
    assert lines[0]["engine/weight_max"] < 1, "a law cut to four tokens gave each of them more than the policy does"
    assert lines[-1]["reward/mean"] > 0.6


def test_a_correction_that_touches_every_token_of_a_nucleus_teaches_nothing(course: Lines) -> None:
    flags = {**PLAIN, "top_p": 0.8, "max_steps": 4, "vllm_is_truncated_threshold": (0.95, 1.05)}
    masked, clipped = course(**flags, use_icepop=True), course(**flags, enable_vllm_is_correction=True)
    assert masked[0]["engine/weight_touched_share"] == clipped[0]["engine/weight_touched_share"] == 1
    assert column(masked, "optimiser/grad_norm") == [0, 0, 0, 0]
    assert clipped[-1]["reward/mean"] > masked[-1]["reward/mean"] + 0.3


def test_votes_make_answers_agree_without_labels(course: Lines, rows_file: Callable[..., str]) -> None:
    unlabelled = rows_file("unlabelled", [{"input": f"{i}+{9 - i}="} for i in range(8)])
    flags = {**PLAIN, "prompt_data": unlabelled, "rule_reward": "number", "generate_max_len": 2}
    lines = course(**flags, ttrl=True, n_samples_per_prompt=16, max_steps=9)
    agreeing = column(lines, "reward/extra/majority_share")
    assert agreeing[0] < 0.25
    assert agreeing[-1] > 0.8
    assert "reward/extra/majority_right" not in lines[-1]


def test_only_the_best_answers_of_a_prompt_are_learnt_from(course: Lines, answers: Answers) -> None:
    lines = course(**PLAIN, keep_best=2, max_steps=8)
    for step in answers(0):
        for group in by_prompt(step):
            learnt = [a["reward"] for a in group if a["advantage"]]
            assert len(learnt) <= 2
            assert all(reward >= sorted(a["reward"] for a in group)[-2] for reward in learnt)
    assert lines[-1]["reward/mean"] > lines[0]["reward/mean"] + 0.4


def test_a_teacher_is_enough_where_no_answer_is_paid(course: Lines, taught: Taught, tmp_path: Path) -> None:
    silent = tmp_path / "silent.py"
    silent.write_text(
        "def score(prompts, responses, labels):\n"
        "    sevens = [r.count('7') / 8 for r in responses]\n"
        "    return {'rewards': [0.0] * len(responses), 'extra_logs': {'sevens': sevens}}\n"
    )
    flags = {**PLAIN, "reward_fn": f"{silent}:score", "teacher_pretrain": taught(6), "teacher_kl_coef": 1.0}
    lines = course(**flags, max_steps=6)
    assert lines[0]["policy/kl_teacher"] > 1 > 0.1 > lines[-1]["policy/kl_teacher"]
    assert lines[0]["reward/extra/sevens"] < 0.1
    assert lines[-1]["reward/extra/sevens"] > 0.9
    assert column(lines, "reward/mean") == [0] * 6


@pytest.mark.proof
def test_a_target_steers_the_divergence_from_either_side(course: Lines) -> None:
    flags = {"train_batch_size": 32, "max_steps": 24, "save_trajectories": False}
    steering = {"kl_target": 0.5, "kl_horizon": 64.0}
    for coefficient in (0.04, 1.0):
        fixed, steered = (
            fmean(column(course(**flags, init_kl_coef=coefficient, **wanted), "policy/kl_reference")[-8:])
            for wanted in ({}, steering)
        )
        assert abs(steered - 0.5) < 0.25
        assert fixed < 0.3 if coefficient > 0.5 else fixed > 1.5


def test_a_running_norm_takes_the_scale_off_rewards(course: Lines, reward: Reward) -> None:
    large = reward("64 * (r.count('7') / 8)")
    flags = {"algorithm": "dr_grpo", "max_steps": 2, "max_norm": 0.0}
    raw = course(**flags, reward_fn=large)
    one, many = (course(**flags, reward_running_norm=True, **paid) for paid in ({}, {"reward_fn": large}))
    for line, same in zip(one, many, strict=True):
        assert line["optimiser/grad_norm"] == pytest.approx(same["optimiser/grad_norm"], rel=1e-3)
        assert line["policy/loss"] == pytest.approx(same["policy/loss"], rel=1e-3, abs=1e-5)
    assert raw[0]["optimiser/grad_norm"] > 4 * many[0]["optimiser/grad_norm"]


def test_the_entropy_bonus_keeps_the_policy_open(course: Lines) -> None:
    flags = {"algorithm": "dr_grpo", "train_batch_size": 32, "max_steps": 9}
    spent, kept, most = (course(**flags, entropy_coef=coefficient) for coefficient in (0.0, 0.05, 0.3))
    assert column(kept, "policy/entropy")[-1] > column(spent, "policy/entropy")[-1] + 0.7
    assert column(most, "policy/entropy")[-1] > log(18) - 0.25, "near that of 18 equally likely tokens"


def test_answers_that_were_cut_off_are_left_out_of_the_loss(course: Lines, answers: Answers) -> None:
    for number, filtering in enumerate((True, False)):
        course(**PLAIN, overlong_filtering=filtering, max_steps=2)
        cut = [a["advantage"] for step in answers(number) for a in step if a["finish_reason"] == "length"]
        whole = [a["advantage"] for step in answers(number) for a in step if a["finish_reason"] == "stop"]
        assert any(whole)
        assert any(cut) is not filtering


def test_answers_that_earn_only_if_they_end_learn_to_end(course: Lines, reward: Reward) -> None:
    flags = {**PLAIN, "reward_fn": reward("float('7' in r)"), "max_steps": 8}
    patient, strict = course(**flags), course(**flags, stop_properly_penalty_coef=0.0)
    assert patient[-1]["rollout/truncated_share"] > 0.7 > 0.3 > strict[-1]["rollout/truncated_share"]
    assert strict[-1]["reward/mean"] > 0.7


def test_a_length_reward_shortens_answers(course: Lines, reward: Reward) -> None:
    flags = {**PLAIN, "reward_fn": reward("float('7' in r)"), "max_steps": 9}
    free, short = course(**flags), course(**flags, length_reward_coef=2.0)
    assert short[-1]["rollout/length_mean"] < 0.8 * free[-1]["rollout/length_mean"]
