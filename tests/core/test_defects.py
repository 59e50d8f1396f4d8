"""Mistakes that are easily made and seldom seen, and where each is checked.

advantages that collapse, discounts and scales that depend on how a batch is cut    here, test_running_moments
a divergence whose gradient dies or explodes, ratios and weights without a bound    test_kl, test_corrections, extremes
failed judgements taken for zeros, groups mixed up, answers changed after sampling  here, test_plan, test_experience
settings that never reach the loss                                                  here, conformance/test_rows
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import pytest
import torch

from lightrft_core import (
    ALGORITHMS,
    Aggregation,
    Algorithm,
    Batch,
    BatchSizes,
    Bounds,
    CriticOutput,
    DynamicSampling,
    FinishReason,
    FirstToken,
    Group,
    OneRank,
    PolicyOutput,
    RewardShaping,
    RunningMoments,
    SamplingParams,
    make_experience,
)
from lightrft_core.plan import training_sequences

SCORES = [[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
WHOLE = BatchSizes(None, 1000, 10**6, 16)


class Models(OneRank):
    """A policy a little away from its reference, and a critic, by the ids of the tokens."""

    def forward(self, model: str, batches: Sequence[Batch]) -> list[PolicyOutput | CriticOutput]:
        return [self.output(model, batch) for batch in batches]

    def output(self, model: str, batch: Batch) -> PolicyOutput | CriticOutput:
        ids = batch.response_ids[batch.loss_mask].double()
        if model == "critic":
            return CriticOutput(ids / 9)
        return PolicyOutput(-ids / 7 - 0.1 * (model == "reference"), ids / 10)


def questions(build_group) -> list[Group]:
    """Three questions with answers of unequal lengths; the last one's rewards are all equal."""
    answers = [[[1 + g + i + t for t in range(1 + (g + 2 * i) % 5)] for i in range(4)] for g in range(3)]
    groups = [build_group([90 + g], answers[g], SCORES[g]) for g in range(3)]
    RewardShaping().scale(groups, RunningMoments())
    return groups


def batches(groups: list[Group], algorithm: Algorithm, sizes: BatchSizes = WHOLE) -> list[Batch]:
    return [*chain.from_iterable(make_experience(groups, algorithm, Models(), sizes)[0])]


def by_answer(parts: Sequence[Batch], column: str) -> dict[tuple[int, ...], list[float]]:
    """An answer's numbers by its tokens."""
    found = {}
    for batch in parts:
        for row, (ids, mask) in enumerate(zip(batch.response_ids, batch.loss_mask, strict=True)):
            found[tuple(ids[mask].tolist())] = getattr(batch, column)[batch.sequence_ids == row].tolist()
    return found


def loss_of(parts: Sequence[Batch], algorithm: Algorithm, away: float = 0.0) -> float:
    """The step's loss if the policy had moved so far from the reference's side."""
    total = 0.0
    for batch in parts:
        ids = batch.response_ids[batch.loss_mask].double()
        total += float(algorithm.loss(PolicyOutput(away - ids / 7, ids / 10), batch)[0])
    return total


# Advantages


def test_rewards_of_single_answers_do_not_collapse_to_one_number(build_group) -> None:
    for name, algorithm in ALGORITHMS.items():
        groups = questions(build_group)
        batches(groups, algorithm)
        first = [rollout.advantage for rollout in groups[0].rollouts]
        assert len(set(first)) > 1, name
        if algorithm.estimator.within_group and algorithm.kl_coef == 0:
            assert first[1] > 0 > first[0], name


def test_only_estimators_that_say_so_are_scaled_over_the_batch(build_group) -> None:
    whitening = {name for name, row in ALGORITHMS.items() if row.estimator.whiten}
    assert whitening == {"reinforce_pp", "reinforce_pp_baseline", "ppo"}
    groups = questions(build_group)
    batches(groups, replace(ALGORITHMS["rloo"], kl_coef=0.0))
    assert [r.advantage for r in groups[0].rollouts] == pytest.approx([-2 / 3, 2 / 3, 2 / 3, -2 / 3])
    assert [r.advantage for r in groups[1].rollouts] == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    batches(groups, ALGORITHMS["cpgd"])
    assert [r.advantage for r in groups[0].rollouts] == pytest.approx([-0.5, 0.5, 0.5, -0.5])


@pytest.mark.parametrize("size", [None, 4, 6])
def test_scaling_happens_once_over_everything_that_was_sampled(build_group, size: int | None) -> None:
    algorithm = replace(ALGORITHMS["reinforce_pp"], kl_coef=0.0)
    sizes = replace(WHOLE, train_batch_size=size)
    tokens = torch.cat([batch.advantages for batch in batches(questions(build_group), algorithm, sizes)])
    rewards = [
        rollout.reward for group in questions(build_group) for rollout in group.rollouts for _ in rollout.token_ids
    ]
    raw = torch.tensor(rewards, dtype=torch.float64)
    expected = ((raw - raw.mean()) / raw.var(correction=0).add(1e-8).sqrt()).float()
    assert sorted(tokens.tolist()) == pytest.approx(sorted(expected.tolist()), rel=1e-6)


@pytest.mark.parametrize("name", ["reinforce_pp", "ppo"])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_discount_holds_in_every_micro_batch_alike(build_group, name: str, most: int) -> None:
    algorithm = replace(ALGORITHMS[name], gamma=0.7)
    whole = by_answer(batches(questions(build_group), algorithm), "advantages")
    sizes = replace(WHOLE, micro_train_batch_size=most)
    cut = by_answer(batches(questions(build_group), algorithm, sizes), "advantages")
    assert cut == whole
    undiscounted = by_answer(batches(questions(build_group), replace(algorithm, gamma=1.0)), "advantages")
    assert all(cut[answer] != undiscounted[answer] for answer in cut)


# What reaches the loss


def test_the_way_of_averaging_reaches_the_loss(build_group) -> None:
    losses = []
    for mode in Aggregation:
        algorithm = replace(ALGORITHMS["dapo"], aggregation=mode)
        losses.append(loss_of(batches(questions(build_group), algorithm), algorithm))
    assert len({round(loss, 9) for loss in losses}) == len(Aggregation)


@pytest.mark.parametrize(
    "changes",
    [
        {"bounds": Bounds(0.01, 0.2)},
        {"bounds": Bounds(0.2, 0.01)},
        {"bounds": Bounds(0.2, 0.2, dual=1.01)},
        {"kl_coef": 0.2},
        {"kl_estimator": "k2"},
        {"entropy_coef": 0.1},
        {"drift_coef": 0.3},
        {"high_entropy_share": 0.3},
        {"advantage_clip": 0.1},
    ],
)
def test_every_constant_reaches_the_loss(build_group, changes) -> None:
    plain, sizes = ALGORITHMS["grpo"], replace(WHOLE, max_epochs=2)
    for away in (-0.5, 0.5):
        changed = replace(plain, **changes)
        losses = [loss_of(batches(questions(build_group), row, sizes), row, away) for row in (plain, changed)]
        if losses[0] != pytest.approx(losses[1], rel=1e-6):
            break
    else:
        pytest.fail("the loss is the same")


def test_a_policy_that_drifted_is_pulled_back_where_the_clip_took_the_gradient(build_group) -> None:
    algorithm = ALGORITHMS["cpgd"]
    sizes = replace(WHOLE, max_epochs=2)
    for batch in batches(questions(build_group), algorithm, sizes):
        logprobs = (batch.old_logprobs + 1.0).requires_grad_()
        algorithm.loss(PolicyOutput(logprobs, torch.zeros_like(logprobs)), batch)[0].backward()
        held = batch.advantages > 0
        assert held.any()
        assert logprobs.grad[held].tolist() == pytest.approx(
            (batch.weights[held] * algorithm.drift_coef * algorithm.drift_bound).tolist()
        )


def test_the_measured_divergence_is_not_the_term_of_the_loss(build_group) -> None:
    measured = set()
    for changes in ({}, {"kl_coef": 5.0}, {"kl_estimator": "k1"}, {"kl_unbiased": True}):
        algorithm = replace(ALGORITHMS["grpo"], **changes)
        (batch,) = batches(questions(build_group), algorithm)
        ids = batch.response_ids[batch.loss_mask].double()
        measured.add(algorithm.loss(PolicyOutput(-ids / 7, ids), batch)[1].result()["policy/kl_reference"])
    assert len(measured) == 1
    assert measured.pop() == pytest.approx(math.exp(-0.1) - 1 + 0.1, rel=1e-5)


# Which answers, and whole


@pytest.mark.parametrize("most", [1, 3, 7, 100])
def test_groups_are_dropped_whole_whatever_the_micro_batches(build_group, most: int) -> None:
    groups = questions(build_group)
    kept = [group for group in groups if DynamicSampling().keeps(group)]
    assert kept == groups[:2]
    parts = batches(kept, ALGORITHMS["dapo"], replace(WHOLE, micro_train_batch_size=most))
    expected = {tuple(rollout.token_ids) for group in kept for rollout in group.rollouts}
    assert by_answer(parts, "advantages").keys() == expected
    for batch in parts:
        assert torch.bincount(batch.sequence_ids).min() > 0
        assert ALGORITHMS["dapo"].loss(PolicyOutput(batch.advantages * 0 - 1, batch.advantages), batch)[0].isfinite()


def test_an_answer_that_was_cut_off_is_learnt_from_as_it_was_sampled(build_group) -> None:
    group = build_group([1], [[11, 12, 13], [14]], [1.0, 0.0])
    group.rollouts[0].finish_reason = FinishReason.LENGTH
    RewardShaping().scale([group], RunningMoments())
    sequences = [sequence for _, sequence in training_sequences([group], ALGORITHMS["dapo"].chosen)]
    assert [list(sequence.response_ids) for sequence in sequences] == [[11, 12, 13], [14]]
    assert [list(sequence.loss_mask) for sequence in sequences] == [[True] * 3, [True]]


@pytest.mark.parametrize("shaping", [RewardShaping(overlong_buffer=4), RewardShaping(length_coefficient=1.0)])
def test_only_tokens_of_the_policys_own_make_an_answer_long(build_group, shaping: RewardShaping) -> None:
    words, all_right = [[2] * 3, [2] * 9, [2] * 5], [1.0, 1.0, 1.0]
    own = [[True] * 3, [True] * 3 + [False] * 6, [True] * 5]
    tool_words = build_group([1], words, all_right, masks=own)
    own_words = build_group([1], [[2] * 3, [2] * 3, [2] * 5], all_right)
    for group in (tool_words, own_words):
        shaping.judge(group, [rollout.verdict for rollout in group.rollouts], max_new_tokens=10)
    assert [r.verdict.score for r in tool_words.rollouts] == [r.verdict.score for r in own_words.rollouts]


# Sampling


def test_the_first_token_alone_is_drawn_boldly() -> None:
    law = SamplingParams(temperature=0.7, top_p=0.9, top_k=5, n=3, first_token=FirstToken(10.0, 16))
    first = law.at(0)
    assert (first.temperature, first.top_k, first.top_p) == (10.0, 16, 1.0)
    assert (first.max_new_tokens, first.n, first.stop_token_ids) == (law.max_new_tokens, law.n, law.stop_token_ids)
    for position in (1, 2, 1000):
        later = law.at(position)
        assert (later.temperature, later.top_k, later.top_p) == (0.7, 5, 0.9)


def test_without_a_law_of_its_own_the_first_token_is_drawn_as_the_rest() -> None:
    law = SamplingParams(temperature=0.7, top_p=0.9)
    assert law.at(0) == law.at(1) == law


@pytest.mark.parametrize(("temperature", "top_k"), [(0.0, 16), (-1.0, 16), (1.0, -1)])
def test_an_impossible_law_of_the_first_token_is_refused(temperature: float, top_k: int) -> None:
    with pytest.raises(ValueError, match="first token"):
        FirstToken(temperature, top_k)
