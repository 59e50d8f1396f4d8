"""All measures together: by head, by source, as JSON without surprises, and without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lightrft_rewards.evaluation import Asking, JudgedComparison, measure, measure_all

from .judged_data import pair, tie


def at(head: str, source: str, better: float, worse: float, uid: str = "row") -> JudgedComparison:
    return JudgedComparison(uid, head, (1.0, 0.0), (better, worse), source, safe=(True, False))


def test_each_head_and_each_source_is_measured_by_itself() -> None:
    judged = [
        at("helpful", "one", 1.0, 0.0),
        at("helpful", "one", 1.0, 0.0),
        at("helpful", "one", 0.0, 1.0),
        at("helpful", "two", 0.0, 1.0),
        at("safe", "one", 1.0, -1.0),
    ]
    found = measure_all(judged, safe_threshold=0.0)
    assert list(found) == ["helpful", "safe"]
    shares = {source: m["agreement"]["accuracy"]["value"] for source, m in found["helpful"]["sources"].items()}
    assert shares == {"one": pytest.approx(2 / 3), "two": 0.0}
    assert found["helpful"]["all"]["agreement"]["accuracy"]["value"] == 0.5
    assert found["helpful"]["mean_over_sources"] == pytest.approx(1 / 3)
    assert found["helpful"]["all"]["refusals"] is None
    condemned = found["safe"]["all"]["refusals"]["condemned"]
    assert (condemned["value"], condemned["n"]) == (0.0, 1)


def test_it_is_json_without_nan_whatever_there_was_to_judge() -> None:
    cases = [[], [JudgedComparison("a", "x", (1.0, 0.0), error="broke")], [tie(0.0, 0.0)], [pair(5.0, 5.0)]]
    cases.append([JudgedComparison("a", "x", (1.0,), (2.0,)), JudgedComparison("b", "x", (), error="no answers")])
    for judged in cases:
        text = json.dumps(measure_all(judged), allow_nan=False)
        assert json.loads(text).keys() == {comparison.head for comparison in judged}


def test_failures_are_counted_and_are_not_scores() -> None:
    failed = JudgedComparison("a", "score", (1.0, 0.0), error="broke")
    found = measure([failed, pair(1.0, 0.0)])
    assert (found.comparisons, found.failed) == (2, 1)
    assert found.agreement.accuracy is not None
    assert found.agreement.accuracy.value == 0.5
    assert found.scores is not None
    assert found.scores.n == 2


def test_three_way_accuracy_is_given_where_people_found_answers_equal() -> None:
    assert measure([pair(1.0, 0.0)]).three_way is None
    found = measure([pair(1.0, 0.0), tie(0.0, 0.2)], tie_threshold=0.5).three_way
    assert found is not None
    assert found.accuracy is not None
    assert (found.accuracy.value, found.thresholds) == (1.0, (0.5,))


def test_a_judge_that_says_so_itself_needs_no_threshold_for_ties() -> None:
    askings = (Asking(0, None), Asking(1, None))
    judged = [JudgedComparison(str(i), "score", (1.0, 1.0), (0.5, 0.5), askings=askings) for i in range(4)]
    found = measure(judged).three_way
    assert found is not None
    assert found.accuracy is not None
    assert (found.accuracy.value, found.thresholds) == (1.0, (0.0,))


def test_measuring_a_judge_loads_nothing_but_the_standard_library() -> None:
    program = "import sys, lightrft_rewards.evaluation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "numpy", "transformers", "lightrft_core", "lightrft_strategy"}.isdisjoint(loaded)
