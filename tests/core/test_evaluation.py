"""Held-out accuracy: pass@k, its interval, and what failures count as."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import FinishReason, Prompt, SamplingParams, Verdict, evaluate
from lightrft_core.evaluation import pass_at_k, wilson_interval


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_all_draws_of_k_that_hold_a_right_answer(numbers: tuple[int, int, int]) -> None:
    n, c, k = numbers
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons_as_newcombe_tabulates_it(right: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(right / n, n) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_interval_holds_the_shares_whose_score_test_does_not_reject(n: int, value: float) -> None:
    low, high = wilson_interval(value, n)
    assert 0 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1
    for end in (low, high):
        if 1e-6 < end < 1 - 1e-6:
            assert abs(end - value) == pytest.approx(1.959963984540054 * sqrt(end * (1 - end) / n), rel=1e-6, abs=1e-9)


@given(st.floats(0, 1), st.integers(1, 1000))
def test_more_problems_make_the_interval_narrower(value: float, n: int) -> None:
    narrow, wide = wilson_interval(value, 4 * n), wilson_interval(value, n)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


class Answers:
    """An engine whose answers are given, and the reward that reads its verdicts off them."""

    def __init__(self, build_group, verdicts: list[list[Verdict]]) -> None:
        self.build_group, self.verdicts = build_group, verdicts
        self.asked: list[tuple[SamplingParams, int]] = []

    def generate(self, prompts, sampling, *, step):
        self.asked.append((sampling, step))
        groups = []
        for prompt, row in zip(prompts, self.verdicts, strict=True):
            group = self.build_group(prompt.token_ids, [[7] * (i + 1) for i in range(len(row))], [0] * len(row))
            group.rollouts[0].finish_reason = FinishReason.LENGTH
            groups.append(group)
        return groups

    def load_weights(self, version):
        raise AssertionError("an evaluation changes no weights")

    def score(self, groups, *, step):
        assert len(groups) == len(self.verdicts)
        return self.verdicts


RIGHT, WRONG, FAILED = Verdict(1.0, accuracy=1.0), Verdict(0.0, accuracy=0.0), Verdict(None, timed_out=True)


def run(build_group, verdicts: list[list[Verdict]], **sampling):
    world = Answers(build_group, verdicts)
    prompts = [Prompt(str(i), (), "", (i,)) for i in range(len(verdicts))]
    return evaluate(world, world, prompts, SamplingParams(n=len(verdicts[0]), **sampling), step=3), world


def test_greedy_accuracy_is_the_share_of_right_answers_with_its_interval(build_group) -> None:
    evaluation, world = run(build_group, [[RIGHT], [WRONG], [WRONG], [RIGHT], [RIGHT]], temperature=0)
    assert evaluation.accuracy.value == pytest.approx(0.6)
    assert evaluation.accuracy.n == 5
    assert evaluation.accuracy.interval == wilson_interval(0.6, 5)
    assert evaluation.pass_at_k.keys() == {1}
    assert world.asked == [(SamplingParams(n=1, temperature=0), 3)]


@pytest.mark.parametrize(("n", "powers"), [(1, [1]), (2, [1, 2]), (3, [1, 2]), (4, [1, 2, 4]), (7, [1, 2, 4])])
def test_pass_at_k_is_given_for_the_powers_of_two_up_to_n(build_group, n: int, powers: list[int]) -> None:
    evaluation, _ = run(build_group, [[RIGHT] + [WRONG] * (n - 1), [WRONG] * n])
    assert list(evaluation.pass_at_k) == powers
    assert [evaluation.pass_at_k[k].value for k in powers] == pytest.approx([k / n / 2 for k in powers])
    assert evaluation.accuracy.value == pytest.approx(evaluation.pass_at_k[1].value)


def test_an_answer_whose_judging_failed_is_counted_as_failed_and_as_not_solved(build_group) -> None:
    evaluation, _ = run(build_group, [[RIGHT, FAILED], [FAILED, FAILED]])
    assert evaluation.failed == 3
    assert evaluation.accuracy.value == 0.25
    assert evaluation.metrics()["eval/failed"] == 3


def test_a_share_counts_as_right_only_above_one_half(build_group) -> None:
    partly = [[Verdict(9.0, accuracy=0.5)], [Verdict(-9.0, accuracy=0.51)]]
    assert run(build_group, partly)[0].accuracy.value == 0.5


def test_the_metrics_line_names_every_number(build_group) -> None:
    evaluation, _ = run(build_group, [[RIGHT, WRONG], [WRONG, WRONG]])
    assert evaluation.metrics() == {
        "eval/accuracy": 0.25,
        "eval/pass@1": 0.25,
        "eval/pass@2": 0.5,
        "eval/length_mean": 1.5,
        "eval/truncated_share": 0.5,
        "eval/failed": 0.0,
    }
    assert [rollout.verdict for rollout in evaluation.groups[0].rollouts] == [RIGHT, WRONG]
