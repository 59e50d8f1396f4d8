"""The judge of a training run: verdicts, the bound on failures, and the journal that makes a resumed run the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightrft_core.protocols import Reward
from lightrft_core.types import FinishReason, Group, Message, Prompt, Rollout, Verdict
from lightrft_rewards import RewardFailure, RewardPool, RewardSetupError, Scoring, parse_routes
from lightrft_rewards.judge import Judge

WriteFunction = Callable[..., str]

FUNCTION = """
import pathlib, time

here = pathlib.Path(__file__).parent

def score(prompts, responses, labels):
    with open(here / "calls", "a") as calls:
        calls.write(",".join(responses) + "\\n")
    if "hang" in responses and not (here / "healed").exists():
        time.sleep(60)
    return {"rewards": [float(len(r)) / 7 for r in responses], "extra_logs": {"length": [len(r) for r in responses]}}
"""


def group(uid: str, *responses: str, label: object = 7, route: str = "", occurrence: int = 0) -> Group:
    prompt = Prompt(uid, (Message("user", "3+4="),), "3+4=", (1, 2), label, route, occurrence)
    return Group(
        prompt,
        [Rollout(number, [1], [0.0], [True], FinishReason.STOP, text) for number, text in enumerate(responses)],
    )


def judge_by(
    rules: str | dict[str, str] | None = None,
    *,
    reward_fn: str = "",
    max_error_share: float = 0.5,
    journal: Path | None = None,
    **pool: Any,
) -> Judge:
    scoring = Scoring(parse_routes(rules) if rules else {}, reward_fn)
    return Judge(RewardPool(scoring, **pool), max_error_share=max_error_share, journal=journal)


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    lines = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_verdicts_are_nested_as_the_groups_are() -> None:
    with judge_by(rules={"": "number:2,format", "shape": "format"}, num_workers=1) as judge:
        reward: Reward = judge
        verdicts = reward.score([group("a", "7", "8"), group("b", "7", route="shape")], step=1)
        assert judge.score([], step=2) == []
    assert verdicts == [
        [
            Verdict(score=2.0, accuracy=1.0, parts={"number": 1.0, "format": 0.0}),
            Verdict(score=0.0, accuracy=0.0, parts={"number": 0.0, "format": 0.0}),
        ],
        [Verdict(score=0.0, accuracy=0.0, parts={"format": 0.0})],
    ]


def test_a_judge_takes_rules_or_a_function_but_not_both(write_function: WriteFunction) -> None:
    with pytest.raises(RewardSetupError, match="take one"):
        judge_by(rules="number", reward_fn=write_function(FUNCTION))
    with pytest.raises(RewardSetupError, match="no reward is given"):
        judge_by()


def test_failures_up_to_the_bound_are_verdicts_without_a_score() -> None:
    with judge_by(rules="number", num_workers=1, max_error_share=0.5) as judge:
        [[good], [bad]] = judge.score([group("a", "7"), group("b", "7", label=None)], step=1)
    assert good.score == 1.0
    assert (bad.score, bad.accuracy, bad.timed_out) == (None, None, False)
    assert bad.error.startswith("b, sample 0: rule number needs a number as its label")


def test_more_failures_than_the_bound_stop_the_run_with_the_first_of_them(write_function: WriteFunction) -> None:
    target = write_function("""
        import time

        def score(prompts, responses, labels):
            if "hang" in responses:
                time.sleep(60)
            return [1 / float(r) for r in responses]
    """)
    with judge_by(reward_fn=target, num_workers=2, timeout=2.0) as judge:
        groups = [group("a", "0", "hang"), group("b", "1", "0", "0")]
        with pytest.raises(RewardFailure) as failure:
            judge.score(groups, step=3)
    first, *shown = str(failure.value).splitlines()
    assert first.startswith(
        "step 3: 4 of 5 samples could not be judged (3 errors, 1 time-outs), "
        "a larger share than --max_reward_error_share 0.5."
    )
    assert shown[0].strip().startswith(f"{target} on a, sample 0: ZeroDivisionError: float division by zero (")
    assert shown[1].strip() == f"{target} (2 s a sample) on a, sample 1: not done in time"
    assert len(shown) == 3


def test_time_outs_count_towards_the_bound(write_function: WriteFunction) -> None:
    with (
        judge_by(reward_fn=write_function(FUNCTION), num_workers=1, timeout=2.0, max_error_share=0) as judge,
        pytest.raises(RewardFailure, match=r"\(0 errors, 1 time-outs\)"),
    ):
        judge.score([group("a", "hang")], step=1)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_bound_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="max_error_share"):
        judge_by(rules="number", max_error_share=share)


def test_a_resumed_run_gets_the_same_verdicts_without_judging_again(
    write_function: WriteFunction, tmp_path: Path
) -> None:
    target, journal = write_function(FUNCTION), tmp_path / "run" / "judged.jsonl"
    groups = [group("a", "hang", "seven"), group("b", "six", occurrence=1)]
    with judge_by(reward_fn=target, num_workers=1, timeout=2.0, journal=journal) as judge:
        before = judge.score(groups, step=4)
    assert [verdict.timed_out for verdict in before[0]] == [True, False]
    calls(tmp_path)

    (tmp_path / "healed").touch()
    with judge_by(reward_fn=target, num_workers=1, timeout=30, journal=journal) as judge:
        assert judge.score(groups, step=4) == before
        assert calls(tmp_path) == []
        [[later, _], _] = judge.score(groups, step=5)
    assert later.score == 4 / 7


def test_the_journal_answers_only_for_the_very_same_group(write_function: WriteFunction, tmp_path: Path) -> None:
    target, journal = write_function(FUNCTION), tmp_path / "judged.jsonl"
    with judge_by(reward_fn=target, num_workers=1, timeout=2.0, journal=journal) as judge:
        judge.score([group("a", "hang", "seven")], step=4)
    (tmp_path / "healed").touch()
    changed = [
        group("b", "hang", "seven"),
        group("a", "hang", "seven", occurrence=1),
        group("a", "hang", "eight"),
        group("a", "hang", "seven", label=8),
    ]
    with judge_by(reward_fn=target, num_workers=1, journal=journal) as judge:
        verdicts = judge.score([group("a", "hang", "seven"), *changed], step=4)
    assert [first.score for first, _ in verdicts] == [None] + [4 / 7] * 4


def test_an_edited_function_is_asked_again(write_function: WriteFunction, tmp_path: Path) -> None:
    journal = tmp_path / "judged.jsonl"
    source = "def score(prompts, responses, labels):\n    return [0.25 for _ in responses]\n"
    with judge_by(reward_fn=write_function(source), num_workers=1, journal=journal) as judge:
        assert judge.score([group("a", "x")], step=1)[0][0].score == 0.25
    with judge_by(reward_fn=write_function(source.replace("0.25", "0.5")), num_workers=1, journal=journal) as judge:
        assert judge.score([group("a", "x")], step=1)[0][0].score == 0.5


def test_a_call_that_failed_is_not_in_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "judged.jsonl"
    with judge_by(rules="number", num_workers=1, max_error_share=0, journal=journal) as judge:
        judge.score([group("a", "7")], step=1)
        with pytest.raises(RewardFailure):
            judge.score([group("a", "7", label=None)], step=2)
    assert [json.loads(line)["step"] for line in journal.read_text().splitlines()] == [1]


def test_a_line_cut_short_by_a_kill_is_judged_anew(tmp_path: Path) -> None:
    journal = tmp_path / "judged.jsonl"
    groups = [group("a", "7"), group("b", "8")]
    with judge_by(rules="number", num_workers=1, journal=journal) as judge:
        before = judge.score(groups, step=1)
    whole = journal.read_bytes()
    for length in (len(whole) - 1, len(whole) - 20, 3, 0):
        journal.write_bytes(whole[:length])
        with judge_by(rules="number", num_workers=1, journal=journal) as judge:
            assert judge.score(groups, step=1) == before
        assert journal.read_bytes() == whole


def test_a_journal_line_that_is_damaged_is_named(tmp_path: Path) -> None:
    journal = tmp_path / "judged.jsonl"
    journal.write_text('{"step": 1, "key": "x", "verdicts": []}\nnonsense\n')
    with pytest.raises(ValueError, match=r"judged\.jsonl, line 2: not a line of a reward journal"):
        judge_by(rules="number", journal=journal)


def test_the_journal_keeps_every_field_to_the_bit(write_function: WriteFunction, tmp_path: Path) -> None:
    target = write_function("""
        def score(prompts, responses, labels):
            if len(responses) > 1 or responses == ["bad"]:
                raise ValueError("one by one, please")
            return {"rewards": [1 / 3], "scores": [0.1 + 0.2], "extra_logs": {"tiny": 5e-324}}
    """)
    journal = tmp_path / "judged.jsonl"
    groups = [group("a", "good", "bad")]
    with judge_by(reward_fn=target, num_workers=1, journal=journal) as judge:
        before = judge.score(groups, step=1)
    assert before[0][0] == Verdict(score=1 / 3, accuracy=0.1 + 0.2, metrics={"tiny": 5e-324})
    assert "one by one" in before[0][1].error
    with judge_by(reward_fn=target, num_workers=1, journal=journal) as judge:
        assert judge.score(groups, step=1) == before


def test_the_share_of_failures_is_of_all_a_step_judged_so_far() -> None:
    broken = group("broken", "7", "8", label=None)
    with judge_by(rules="number", num_workers=1, max_error_share=0.5) as judge:
        judge.score([group("sound", "7", "8", "9")], step=1)
        ((first, _),) = judge.score([broken], step=1)
        assert first.error, "2 of 5: a replacement prompt that cannot be judged does not end the run"
        with pytest.raises(RewardFailure, match="4 of 7 samples"):
            judge.score([broken], step=1)
        with pytest.raises(RewardFailure, match="2 of 2 samples"):
            judge.score([broken], step=2)
