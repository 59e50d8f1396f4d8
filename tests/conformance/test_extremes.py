"""Every row of the table where numbers are at their worst, and where they are at their simplest."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from comparison import assert_is_the_papers, close, flat
from core_step import learn
from references.case import Answer, Case, random_case
from references.rows import ROWS

from lightrft_core import (
    ALGORITHMS,
    Batch,
    BatchSizes,
    CriticOutput,
    Metrics,
    PolicyOutput,
    cpgd,
    gmpo,
    gspo,
    gspo_token,
    ppo_clip,
)
from lightrft_core.experience import estimate_advantages
from lightrft_core.plan import optimiser_steps, select_high_entropy_tokens
from lightrft_core.ratios import MAX_LOG_RATIO

pytestmark = pytest.mark.usefixtures("one_thread")

every_row = pytest.mark.parametrize("name", ALGORITHMS)
LARGEST = math.exp(MAX_LOG_RATIO) * 200
"""No ratio, nor its tangent, exceeds this at a log-ratio of 100."""


def answer(reward: float | None, log_ratios: list[float], *, reference_gap: float = 0.0) -> Answer:
    """An answer whose log-probabilities stand at these distances from the old ones."""
    old, n = [-120.0] * len(log_ratios), len(log_ratios)
    return Answer(
        reward=reward,
        truncated=False,
        logprobs=[before + ratio for before, ratio in zip(old, log_ratios, strict=True)],
        old_logprobs=old,
        reference_logprobs=[before + reference_gap for before in old],
        teacher_logprobs=list(old),
        rollout_logprobs=list(old),
        values=[0.3] * n,
        old_values=[0.1] * n,
        entropy=[1.0 / (t + 1) for t in range(n)],
    )


def assert_finite_and_bounded(name: str, case: Case) -> None:
    learnt = learn(case, ALGORITHMS[name])
    numbers = [learnt.loss, learnt.value_loss, *flat(learnt.gradient), *flat(learnt.value_gradient)]
    assert all(map(math.isfinite, numbers))
    assert all(map(math.isfinite, flat(learnt.advantages)))
    assert max(map(abs, numbers)) <= LARGEST
    assert all(map(math.isfinite, learnt.metrics.result().values()))


@every_row
@pytest.mark.parametrize("reference_gap", [0.0, 100.0, -100.0])
def test_log_ratios_of_a_hundred_either_way_leave_loss_and_gradient_bounded(name: str, reference_gap: float) -> None:
    for length, far in itertools.product([1, 3], [100.0, -100.0]):
        mixed = [far] * length
        mixed[-1] = -far if length > 1 else far
        for ratios in ([far] * length, mixed):
            for rewards in ([1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [-1.0, -2.0]):
                group = [answer(reward, ratios, reference_gap=reference_gap) for reward in rewards]
                assert_finite_and_bounded(name, Case([group], max_length=8))


@every_row
@pytest.mark.parametrize("rewards", [[[1.0]], [[0.3, 0.3, 0.3]], [[None, 1.0]], [[None, None]], [[0.0], [0.0]]])
def test_groups_without_anything_to_compare_give_the_papers_finite_numbers(name: str, rewards) -> None:
    case = Case([[answer(reward, [0.1]) for reward in row] for row in rewards], max_length=4)
    assert_finite_and_bounded(name, case)
    assert_is_the_papers(learn(case, ALGORITHMS[name]), ROWS[name], case)


@every_row
def test_answers_of_one_token_are_the_papers(name: str) -> None:
    for seed in range(5):
        case = random_case(random.Random(seed), groups=2, n=3, max_length=1, spread=0.3)
        assert_is_the_papers(learn(case, ALGORITHMS[name]), ROWS[name], case)


@every_row
def test_without_answers_there_is_a_step_from_which_nobody_learns(name: str) -> None:
    algorithm, metrics = ALGORITHMS[name], Metrics()
    estimate_advantages([], [], algorithm, metrics)
    assert optimiser_steps([], 0, algorithm, BatchSizes(None, 4, 100, 8), world_size=2) == [[[], []]]
    select_high_entropy_tokens([], 0.2)
    assert metrics.result() == {}


@every_row
def test_a_batch_without_loss_tokens_has_a_loss_of_zero(name: str) -> None:
    nothing, ids = torch.zeros(0, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.long)
    none = torch.zeros(1, 2, dtype=torch.bool)
    rows = torch.zeros(0, dtype=torch.long)
    batch = Batch(ids, ~none, ids, torch.zeros(1, dtype=torch.long), none, rows, nothing, nothing, nothing)
    batch = replace(batch, old_logprobs=nothing, reference_logprobs=nothing, old_values=nothing, returns=nothing)
    leaf = nothing.clone().requires_grad_()
    loss, metrics = ALGORITHMS[name].loss(PolicyOutput(leaf, nothing), batch)
    loss.backward()
    assert loss.item() == 0
    assert metrics.result() == {}
    assert ALGORITHMS[name].value_loss(CriticOutput(nothing), batch)[0].item() == 0


@every_row
@pytest.mark.parametrize("scored", [False, True], ids=["own log-probs", "equal old log-probs"])
def test_on_policy_nothing_is_clipped_and_the_gradient_is_that_of_reinforce(name: str, scored: bool) -> None:
    algorithm = replace(ALGORITHMS[name], kl_coef=0.0, high_entropy_share=1.0)
    case = random_case(random.Random(3), groups=3, n=4, max_length=6, spread=0.3)
    for _, _, each in case.judged():
        each.logprobs = list(each.old_logprobs)
    learnt = learn(case, algorithm, on_policy=not scored)
    plain = replace(ALGORITHMS["reinforce"], estimator=algorithm.estimator, aggregation=algorithm.aggregation)
    assert learnt.metrics.result()["policy/clip_share"] == 0
    assert learnt.metrics.result()["policy/ratio_max"] == 1
    if ALGORITHMS[name].objective in {gspo, gmpo}:
        # The ratio of a sequence spreads its gradient evenly; with equal advantages that is the same.
        assert all(len(set(row)) == 1 for group in learnt.advantages for row in group if row)
    assert flat(learnt.gradient) == close(learn(case, plain).gradient)


@pytest.mark.parametrize("objective", [ppo_clip, gspo, gspo_token, gmpo, cpgd])
@pytest.mark.parametrize("log_ratio", [20.5, 30.0, 100.0])
def test_a_token_far_too_likely_for_a_bad_answer_is_still_pulled_back(objective, log_ratio: float) -> None:
    algorithm = replace(ALGORITHMS["grpo"], objective=objective, kl_coef=0.0)
    case = Case([[answer(0.0, [log_ratio]), answer(1.0, [0.0])]], max_length=4)
    learnt = learn(case, algorithm)
    assert learnt.gradient[0][0][0] > 0


@pytest.mark.parametrize("log_ratio", [-100.0, -30.0])
def test_a_token_far_too_unlikely_for_a_good_answer_is_still_pulled_up(log_ratio: float) -> None:
    case = Case([[answer(1.0, [log_ratio]), answer(0.0, [0.0])]], max_length=4)
    assert learn(case, ALGORITHMS["cpgd"]).gradient[0][0][0] < 0


def test_beyond_its_bound_the_ratio_goes_on_as_its_tangent() -> None:
    gradients = []
    for log_ratio in (MAX_LOG_RATIO, MAX_LOG_RATIO + 1e-9, 60.0):
        case = Case([[answer(0.0, [log_ratio]), answer(1.0, [0.0])]], max_length=4)
        gradients.append(learn(case, replace(ALGORITHMS["grpo"], kl_coef=0.0)).gradient[0][0][0])
    assert gradients == pytest.approx([gradients[0]] * 3, rel=1e-6)
