"""From judged groups to batches ready for the loss: who is asked, once, and what advantages come of it."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from lightrft_core import (
    ALGORITHMS,
    Algorithm,
    Batch,
    BatchSizes,
    CriticOutput,
    FinishReason,
    Group,
    KLPlacement,
    Metrics,
    OneRank,
    PolicyOutput,
    RewardShaping,
    RolloutFilter,
    RunningMoments,
    collate,
    make_experience,
)
from lightrft_core.experience import estimate_advantages, note_tokens
from lightrft_core.plan import training_sequences

SIZES = BatchSizes(None, 100, 10**6, 32)
GRPO = replace(ALGORITHMS["grpo"], kl_coef=0.0)
ALL = RolloutFilter()


@dataclass
class Models(OneRank):
    """Models whose numbers of a token depend on the token's id alone; asked: (model, answers) of every forward."""

    asked: list[tuple[str, int]] = field(default_factory=list)

    def forward(self, model: str, batches: Sequence[Batch]) -> list[PolicyOutput | CriticOutput]:
        return [self.output(model, batch) for batch in batches]

    def output(self, model: str, batch: Batch) -> PolicyOutput | CriticOutput:
        self.asked.append((model, len(batch.response_ids)))
        ids = batch.response_ids[batch.loss_mask].double()
        if model == "critic":
            return CriticOutput(self.values(ids))
        return PolicyOutput(self.logprobs(ids) - {"policy": 0.0, "reference": 0.5, "teacher": 1.0}[model], ids / 10)

    @staticmethod
    def logprobs(ids: Tensor) -> Tensor:
        return -ids / 7

    @staticmethod
    def values(ids: Tensor) -> Tensor:
        return ids / 3


def rewarded(groups: list[Group]) -> list[Group]:
    RewardShaping().scale(groups, RunningMoments())
    return groups


def advantages_of(groups: Sequence[Group]) -> list[list[float]]:
    return [[rollout.advantage for rollout in group.rollouts] for group in groups]


def learnt(groups: list[Group], algorithm: Algorithm, sizes: BatchSizes = SIZES) -> list[list[Batch]]:
    return make_experience(rewarded(groups), algorithm, Models(), sizes)[0]


def test_advantages_are_estimated_within_each_group(build_group) -> None:
    groups = [build_group([1], [[2]] * 4, [1, 0, 0, 0]), build_group([1], [[2]] * 4, [5, 5, 6, 6])]
    learnt(groups, GRPO)
    assert advantages_of(groups)[0] == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-5)
    assert advantages_of(groups)[1] == pytest.approx([-0.866025] * 2 + [0.866025] * 2, rel=1e-5)


def test_a_failed_judgement_is_no_zero_reward(build_group) -> None:
    group = build_group([1], [[2]] * 4, [1, None, 0, 1])
    without = build_group([1], [[2]] * 3, [1, 0, 1])
    learnt([group], GRPO)
    learnt([without], GRPO)
    assert group.rollouts[1].advantage == 0
    assert [group.rollouts[i].advantage for i in (0, 2, 3)] == [r.advantage for r in without.rollouts]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_batch_of_failed_judgements_teaches_nothing(build_group, name: str) -> None:
    assert learnt([build_group([1], [[2], [3]], [None, None])], ALGORITHMS[name]) == [[]]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_without_groups_nobody_is_asked_and_nothing_learnt(name: str) -> None:
    models = Models()
    steps, _ = make_experience([], ALGORITHMS[name], models, SIZES)
    assert (steps, models.asked) == ([[]], [])


@pytest.mark.parametrize(
    ("name", "epochs", "asked"),
    [
        ("dapo", 1, []),
        ("dapo", 2, ["policy"]),
        ("grpo", 1, ["reference"]),
        ("high_entropy", 1, ["policy"]),
        ("rloo", 1, ["policy", "reference"]),
        ("reinforce_pp", 1, ["policy", "reference"]),
        ("ppo", 1, ["policy", "reference", "critic"]),
    ],
)
def test_only_models_the_algorithm_needs_are_asked_and_each_once(build_group, name, epochs, asked) -> None:
    models, groups = Models(), [build_group([1], [[2], [3, 4]], [1, 0])]
    sizes = replace(SIZES, max_epochs=epochs)
    ((batch,),), _ = make_experience(rewarded(groups), ALGORITHMS[name], models, sizes)
    assert models.asked == [(model, 2) for model in asked]
    assert (batch.old_logprobs is not None) == ("policy" in asked)
    assert (batch.reference_logprobs is not None) == ("reference" in asked)
    assert (batch.old_values is not None) == (batch.returns is not None) == ("critic" in asked)
    assert (batch.selected is not None) == (name == "high_entropy")


def test_several_optimiser_steps_need_the_policy_as_it_was(build_group) -> None:
    models, groups = Models(), [build_group([1], [[2], [3]], [1, 0])]
    steps, _ = make_experience(rewarded(groups), GRPO, models, replace(SIZES, train_batch_size=1))
    assert len(steps) == 2
    assert models.asked == [("policy", 1)] * 2


def test_models_score_the_very_micro_batches_that_are_learnt_from(build_group) -> None:
    models, groups = Models(), [build_group([1], [[2], [3, 4], [5] * 4], [1, 0, 0.5])]
    sizes = replace(SIZES, micro_train_batch_size=2, max_epochs=2)
    (step,), _ = make_experience(rewarded(groups), GRPO, models, sizes)
    assert models.asked == [("policy", len(batch.response_ids)) for batch in step]
    for batch in step:
        ids = batch.response_ids[batch.loss_mask].double()
        assert batch.old_logprobs.tolist() == Models.logprobs(ids).float().tolist()


def test_answers_left_out_still_count_in_their_groups_mean_and_deviation(build_group) -> None:
    everyone, best, cut = (build_group([1], [[2], [3], [4], [5]], [1, 0, 0.5, 0.2]) for _ in range(3))
    learnt([everyone], GRPO)
    ((batch,),) = learnt([best], replace(GRPO, chosen=RolloutFilter(keep_best=2)))
    assert batch.response_ids.flatten().tolist() == [2, 4]
    whole = advantages_of([everyone])[0]
    assert advantages_of([best])[0] == [whole[0], 0.0, whole[2], 0.0]
    cut.rollouts[0].finish_reason = FinishReason.LENGTH
    learnt([cut], replace(GRPO, chosen=RolloutFilter(mask_truncated=True)))
    assert advantages_of([cut])[0] == [0.0, *whole[1:]]


def test_a_divergence_in_the_reward_is_paid_token_by_token_or_once(build_group) -> None:
    paid = {KLPlacement.REWARD: [[-1.0, -0.5], [-0.5]], KLPlacement.SEQUENCE_REWARD: [[-1.0, -1.0], [-0.5]]}
    for placement, expected in paid.items():
        algorithm = replace(
            ALGORITHMS["reinforce"], kl_coef=1.0, kl_estimator="k1", kl_placement=placement, advantage_clip=0.0
        )
        ((batch,),) = learnt([build_group([1], [[2, 3], [4]], [0, 0])], algorithm)
        assert batch.advantages.tolist() == pytest.approx([a for answer in expected for a in answer])


def test_tokens_that_are_not_the_policys_own_are_jumped_by_credit(build_group) -> None:
    rows = {
        "gaps": ([[2, 9, 3, 9, 9, 4], [5, 9, 6]], [[True, False, True, False, False, True], [True, False, True]]),
        "compact": ([[2, 3, 4], [5, 6]], [[True] * 3, [True] * 2]),
    }
    algorithm = replace(ALGORITHMS["ppo"], gamma=0.9)
    columns = {}
    for name, (ids, masks) in rows.items():
        ((batch,),) = learnt([build_group([1], ids, [1, 0.25], masks=masks)], algorithm)
        columns[name] = batch.advantages.tolist(), batch.returns.tolist(), batch.weights.tolist()
    assert columns["gaps"] == columns["compact"]


def test_without_discount_and_decay_the_critics_targets_are_returns(build_group) -> None:
    algorithm = replace(ALGORITHMS["ppo"], kl_coef=0.0, gamma=1.0, lambd=1.0)
    ((batch,),) = learnt([build_group([1], [[2, 3], [4]], [1, 0.25])], algorithm)
    assert batch.returns.tolist() == pytest.approx([1, 1, 0.25])
    errors = batch.returns - batch.old_values
    expected = (errors - errors.mean()) / (errors.var(correction=0) + 1e-8).sqrt()
    assert batch.advantages.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_how_well_the_critic_explained_the_returns_is_measured(build_group) -> None:
    algorithm = replace(ALGORITHMS["ppo"], kl_coef=0.0, lambd=1.0)
    groups = rewarded([build_group([1], [[3], [6], [9]], [1, 2, 3])])
    _, metrics = make_experience(groups, algorithm, Models(), SIZES)
    assert metrics.result()["critic/explained_variance"] == pytest.approx(1)
    groups = rewarded([build_group([1], [[3], [6], [9]], [3, 2, 1])])
    _, metrics = make_experience(groups, algorithm, Models(), SIZES)
    assert metrics.result()["critic/explained_variance"] == pytest.approx(-3)
    groups = rewarded([build_group([1], [[3], [6]], [1, 1])])
    _, metrics = make_experience(groups, algorithm, Models(), SIZES)
    assert "critic/explained_variance" not in metrics.result()


def test_advantages_are_bounded_last(build_group) -> None:
    group = build_group([1], [[2]] * 5, [10, 0, 0, 0, 0])
    ((batch,),) = learnt([group], replace(GRPO, advantage_clip=1.0))
    assert batch.advantages.tolist() == pytest.approx([1.0, *[-0.4472135] * 4], rel=1e-5)


def test_only_the_most_uncertain_tokens_of_a_step_carry_the_objective(build_group) -> None:
    groups = [build_group([1], [[1, 2, 3, 4], [9, 8, 7, 6, 5, 10]], [1, 0])]
    ((batch,),) = learnt(groups, ALGORITHMS["high_entropy"])
    ids = batch.response_ids[batch.loss_mask]
    assert sorted(ids[batch.selected].tolist()) == [9, 10]
    logprobs = batch.old_logprobs.clone().requires_grad_()
    loss, _ = ALGORITHMS["high_entropy"].loss(PolicyOutput(logprobs, torch.zeros_like(logprobs)), batch)
    loss.backward()
    assert (logprobs.grad != 0).tolist() == batch.selected.tolist()
    assert batch.weights.tolist() == pytest.approx([1 / 10] * 10), "the others still count in the mean"


def test_rewards_far_from_zero_keep_the_digits_in_which_they_differ(build_group) -> None:
    group = build_group([1], [[2]] * 4, [1e8 + 1, 1e8, 1e8, 1e8])
    learnt([group], GRPO)
    assert advantages_of([group])[0] == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-5)


def test_the_verdicts_other_numbers_do_not_touch_the_reward(build_group) -> None:
    group = build_group([1], [[2], [3]], [1, 0])
    group.rollouts[0].verdict = replace(group.rollouts[0].verdict, accuracy=0.0, parts={"format": -5.0})
    learnt([group], GRPO)
    assert group.rollouts[0].advantage > 0 > group.rollouts[1].advantage


def test_estimates_are_in_float64(build_group) -> None:
    groups = rewarded([build_group([1], [[2, 3], [4]], [1 / 3, 0.1])])
    sequences = [sequence for _, sequence in training_sequences(groups, RolloutFilter())]
    estimate_advantages(groups, sequences, ALGORITHMS["dr_grpo"], Metrics())
    assert {sequence.advantages.dtype for sequence in sequences} == {torch.float64}
    assert sequences[0].advantages.tolist() == pytest.approx([(1 / 3 - 0.1) / 2] * 2, rel=1e-15)
    assert math.isclose(sequences[1].advantages.item(), -(1 / 3 - 0.1) / 2, rel_tol=1e-15)


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("micro_batch", [1, 2, 100])
def test_rollouts_know_what_became_of_each_of_their_tokens(build_group, epochs: int, micro_batch: int) -> None:
    groups = [build_group([1], [[2, 3], [4], [5, 6, 7]], [1, 0, 0]), build_group([2], [[8]] * 3, [1, 1, 1])]
    groups[0].rollouts[2].loss_mask[1] = False
    models, sizes = Models(), replace(SIZES, micro_train_batch_size=micro_batch, max_epochs=epochs)
    steps, metrics = make_experience(rewarded(groups), GRPO, models, sizes)
    for moved, batches in enumerate(steps * epochs):
        for batch in batches:
            output = models.output("policy", batch)
            assert isinstance(output, PolicyOutput)
            metrics.merge(GRPO.loss(replace(output, logprobs=output.logprobs + moved / 4), batch)[1])
    note_tokens(groups, metrics, models, wanted=True)
    assert not metrics.tokens
    for rollout in groups[0].rollouts:
        ids = [token for token, kept in zip(rollout.token_ids, rollout.loss_mask, strict=True) if kept]
        assert rollout.learnt is not None
        assert rollout.learnt.advantages == pytest.approx([rollout.advantage] * len(ids))
        assert rollout.learnt.logprobs == pytest.approx([-token / 7 for token in ids])
        assert rollout.learnt.entropy == pytest.approx([token / 10 for token in ids])
        assert rollout.learnt.ratios == pytest.approx([math.exp((epochs - 1) / 4)] * len(ids))
    assert all(rollout.learnt is not None and len(rollout.learnt.logprobs) == 0 for rollout in groups[1].rollouts)


def test_a_rank_without_answers_says_nothing_of_the_first_one(build_group) -> None:
    models, metrics = Models(), Metrics()
    pairs = training_sequences(rewarded([build_group([1], [[2]], [1])]), ALL)
    for batch in (collate([sequence for _, sequence in pairs]), collate([])):
        output = models.output("policy", batch)
        assert isinstance(output, PolicyOutput)
        metrics.merge(GRPO.loss(output, batch)[1])
    assert [(part.places, part.lengths.tolist()) for part in metrics.tokens] == [((0,), [1])]


def test_numbers_of_tokens_are_gathered_only_if_they_are_wanted_and_at_their_own_size(build_group) -> None:
    groups = [build_group([1], [[2, 3] * 50] * 64, [1, *[0] * 63])]
    models = Models()
    (batches,), metrics = make_experience(rewarded(groups), GRPO, models, SIZES)
    for batch in batches:
        output = models.output("policy", batch)
        assert isinstance(output, PolicyOutput)
        metrics.merge(GRPO.loss(output, batch)[1])
    sent = len(pickle.dumps([part.on_host() for part in metrics.tokens]))
    assert sent < 1.2 * 3 * 4 * 64 * 100 + 4096
    unwanted = Metrics()
    unwanted.merge(metrics)
    note_tokens(groups, unwanted, models, wanted=False)
    assert not unwanted.tokens
    assert groups[0].rollouts[0].learnt is not None
    assert len(groups[0].rollouts[0].learnt.logprobs) == 0
