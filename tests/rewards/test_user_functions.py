"""Users' reward functions: how they are called, what they may return, and what is said when they go wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightrft_rewards import Outcome, RewardSetupError, Sample, check_reward_function
from lightrft_rewards.errors import CallError
from lightrft_rewards.function_result import read_result
from lightrft_rewards.user_function import function_scorer

WriteFunction = Callable[..., str]
SAMPLES = [Sample("4", "4", "2+2=", name="a.jsonl:1, sample 0"), Sample("5", "4", "2+2=", name="a.jsonl:1, sample 1")]


def judge(target: str, samples: list[Sample] = SAMPLES) -> list[Outcome]:
    return function_scorer(target, target.rpartition(":")[0])(samples)


def test_our_convention_gets_prompts_responses_and_labels(write_function: WriteFunction) -> None:
    target = write_function("""
        def score(prompts, responses, labels):
            assert prompts == ["2+2=", "2+2="]
            return [float(r == l) for r, l in zip(responses, labels)]
    """)
    assert judge(target) == [Outcome(score=1.0, accuracy=1.0), Outcome(score=0.0, accuracy=0.0)]


def test_openrlhfs_convention_gets_queries_that_hold_prompt_and_response(write_function: WriteFunction) -> None:
    target = write_function("""
        import torch

        def score(queries, prompts, labels, **kwargs):
            assert prompts == ["2+2=", "2+2="]
            rewards = torch.tensor([3.0 if q == p + l else -3.0 for q, p, l in zip(queries, prompts, labels)])
            return {"rewards": rewards, "scores": (rewards > 0).float(), "extra_logs": {"raw": rewards, "weight": 2}}
    """)
    assert judge(target) == [
        Outcome(score=3.0, accuracy=1.0, metrics={"raw": 3.0, "weight": 2.0}),
        Outcome(score=-3.0, accuracy=0.0, metrics={"raw": -3.0, "weight": 2.0}),
    ]


def test_the_conventions_are_told_apart_by_name_in_any_order(write_function: WriteFunction) -> None:
    target = write_function("""
        def score(labels, *, responses, prompts, strictness=1.0):
            return [strictness * (r == l) for r, l in zip(responses, labels)]
    """)
    assert [outcome.score for outcome in judge(target)] == [1.0, 0.0]


def test_a_file_may_import_its_neighbours_and_define_dataclasses(write_function: WriteFunction) -> None:
    write_function("def right(response, label):\n    return float(response == label)\n", file="neighbour_of_reward.py")
    target = write_function("""
        from __future__ import annotations
        from dataclasses import dataclass
        from neighbour_of_reward import right

        @dataclass
        class Weight:
            value: float = 2.0

        def score(prompts, responses, labels):
            return [Weight().value * right(r, l) for r, l in zip(responses, labels)]
    """)
    assert [outcome.score for outcome in judge(target)] == [2.0, 0.0]


@pytest.mark.parametrize(
    ("returned", "scores"),
    [
        ([1, 0.5], [1.0, 0.5]),
        ((True, False), [1.0, 0.0]),
        (torch.tensor([1.5, -2.0]), [1.5, -2.0]),
        ([torch.tensor(1.5), torch.tensor(2)], [1.5, 2.0]),
        ({"rewards": torch.tensor([1, 2]).numpy(), "scores": None, "extra_logs": None}, [1.0, 2.0]),
    ],
)
def test_lists_tensors_and_arrays_of_numbers_are_scores(returned: object, scores: list[float]) -> None:
    assert [outcome.score for outcome in read_result(returned, 2)] == scores


def test_accuracy_is_the_score_clipped_where_none_is_given() -> None:
    assert [outcome.accuracy for outcome in read_result([-3, 0.25, 3], 3)] == [0.0, 0.25, 1.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0], "it returned a result of length 1, not 2, for 2 samples"),
        (None, "it returned a result of type NoneType, not a list of 2 numbers"),
        (1.0, "it returned a result of type float"),
        ("10", "it returned a result of type str"),
        ({"scores": [1, 1]}, 'it returned a dict of scores; "rewards" is required'),
        ({"rewards": [1, 1], "extra": 1}, "it returned a dict of rewards, extra; "),
        ({"rewards": [1]}, "it returned rewards of length 1, not 2"),
        ({"rewards": [1, 1], "scores": [1]}, "it returned scores of length 1, not 2"),
        ({"rewards": [1, 1], "extra_logs": [1]}, "it returned extra_logs of type list"),
        ({"rewards": [1, 1], "extra_logs": {"n": [1]}}, r"it returned extra_logs\['n'\] of length 1, not 2"),
        ({"rewards": [1, 1], "extra_logs": {"n": "many"}}, r"it returned extra_logs\['n'\] of type str"),
    ],
)
def test_a_result_that_does_not_fit_fails_the_call(returned: object, message: str) -> None:
    with pytest.raises(CallError, match=message):
        read_result(returned, 2)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([0, float("nan")], "its reward nan is not a finite number"),
        ([0, float("-inf")], "its reward -inf is not a finite number"),
        ([0, 10**400], "its reward 1000"),
        ([0, "1.0"], "its reward '1.0' is not a number"),
        ([0, None], "its reward None is not a number"),
        ([[0], [1]], "its reward [1] is not a number"),
        ({"rewards": [0, 1], "scores": [0, 2]}, "its accuracy score 2.0 is not within 0 to 1"),
        ({"rewards": [0, 1], "scores": [0, float("nan")]}, "its accuracy score nan is not a finite number"),
        ({"rewards": [0, 1], "extra_logs": {"n": [0, None]}}, "its extra log 'n' None is not a number"),
    ],
)
def test_a_number_that_cannot_be_used_is_an_error_of_its_sample_alone(returned: object, message: str) -> None:
    first, second = read_result(returned, 2)
    assert first.score == 0.0 or returned == [[0], [1]]
    assert second.score is None
    assert second.error.startswith(message)


def test_an_exception_names_function_sample_and_the_users_own_line(write_function: WriteFunction) -> None:
    target = write_function("""
        import json

        def score(prompts, responses, labels):
            return [json.loads(r)["reward"] for r in responses]
    """)
    file = target.rpartition(":")[0]
    [outcome] = judge(target, [Sample("{", name="a.jsonl:1, sample 0")])
    assert outcome.score is None
    assert outcome.error.startswith(f"{target} on a.jsonl:1, sample 0: JSONDecodeError: Expecting property name")
    assert outcome.error.endswith(f"({file}:5)")


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (
            "def score(prompts, responses, labels)\n    return 1\n",
            "score",
            r"SyntaxError: expected ':' \(.*reward\.py:1\)",
        ),
        (
            "import no_such_module\n",
            "score",
            r"ModuleNotFoundError: No module named 'no_such_module' \(.*reward\.py:1\)",
        ),
        ("import sys\nsys.exit(3)\n", "score", r"SystemExit: 3 \(.*reward\.py:2\)"),
        ("import os\nos._exit(3)\n", "score", r"its worker process ended by itself \(exit code 3\)"),
        ("def scores(prompts, responses, labels): ...\n", "score", "no function score; did you mean scores"),
        ("score = 3\n", "score", "is a int, not a function"),
        ("\ndef score(prompts, answers): ...\n", "score", r"reward\.py:2\) takes \(prompts, answers\); it must take"),
        ("def score(prompts, responses, labels, model): ...\n", "score", "any further parameter needs a default"),
        ("def score(*args, **kwargs): ...\n", "score", "it must take"),
        ("async def score(prompts, responses, labels): ...\n", "score", "is async; make it a plain function"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_at_the_start(
    write_function: WriteFunction, source: str, name: str, message: str
) -> None:
    with pytest.raises(RewardSetupError, match=message):
        check_reward_function(write_function(source, name))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.py:score", r"there is no file nowhere\.py in "),
        ("nowhere.py", r"must be written file\.py:function"),
        (":score", r"must be written file\.py:function"),
        ("nowhere.py:score()", r"must be written file\.py:function"),
    ],
)
def test_a_target_that_names_nothing_is_refused(target: str, message: str) -> None:
    with pytest.raises(RewardSetupError, match=message):
        check_reward_function(target)


def test_a_file_that_hangs_while_it_loads_is_given_up(write_function: WriteFunction) -> None:
    with pytest.raises(RewardSetupError, match=r"did not load within 0\.5 seconds"):
        check_reward_function(write_function("import time\ntime.sleep(60)\n"), start_timeout=0.5)


def test_checking_a_function_runs_none_of_it_in_this_process(
    write_function: WriteFunction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_function("""
        import os, pathlib
        pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))

        def score(prompts, responses, labels):
            return [1.0]
    """)
    monkeypatch.chdir(tmp_path)
    check_reward_function("reward.py:score")
    assert int((tmp_path / "pid").read_text()) != os.getpid()
