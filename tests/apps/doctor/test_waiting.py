"""From what ranks last said and what their processes are seen to do, to who waits for whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lightrft_apps.diagnosis.progress_of_steps import against_median
from lightrft_apps.diagnosis.waiting import Helper, culprits, state_of, verdict
from lightrft_strategy.training.beats import Beat
from lightrft_strategy.training.pulse import Pulse
from lightrft_strategy.training.stacks import Frame

NOW = 10_000.0


def beat(rank: int = 0, **more: Any) -> Beat:
    """A rank that has been judging step 3 for 95 s without progress and said so a second ago."""
    pulse = Pulse()
    pulse.doing("judge", 3)
    own = Beat.of(pulse, rank, 2, 7)
    said = {
        "host": "here",
        "pid": 40 + rank,
        "since": NOW - 95,
        "progress": NOW - 95,
        "beat": NOW - 1,
        "where": ("a.py:1 in f",),
    }
    return replace(own, **said | more)


@pytest.mark.parametrize(
    ("said", "process", "status", "seconds"),
    [
        ({}, "sleeping", "working", 95),
        ({"waiting_for": "the reward f", "waiting_since": NOW - 90}, "sleeping", "waiting", 95),
        (
            {"waiting_for": "the server", "waiting_since": NOW - 90, "bounded": True, "progress": NOW - 1},
            "sleeping",
            "waiting",
            90,
        ),
        ({"collective": True}, "sleeping", "collective", 95),
        ({"beat": NOW - 60}, "running", "silent", 60),
        ({"beat": NOW - 60}, "stopped", "stopped", 60),
        ({"beat": NOW - 60}, "", "gone", 60),
        ({"beat": NOW - 60}, None, "silent", 60),
        ({"beat": NOW - 20}, None, "working", 95),
        ({"state": "failed", "why": "ValueError: x", "beat": NOW - 60}, None, "failed", 60),
    ],
    ids=str,
)
def test_a_rank_is_what_its_word_and_its_process_say_together(
    said: dict[str, Any], process: str | None, status: str, seconds: float
) -> None:
    state = state_of(beat(**said), NOW, process)
    assert (state.status, state.seconds) == (status, seconds)


def test_the_rank_in_a_reward_function_is_named_with_its_line_and_the_other_waits_for_it() -> None:
    library, user = Frame("/x/lightrft_rewards/worker.py", 70, "main"), Frame("/home/u/reward_sums.py", 12, "score")
    helpers = [Helper(77, "sleeping", [user, library]), Helper(78, "sleeping", [library])]
    said = {"waiting_for": "the reward function reward_sums.py:score", "waiting_since": NOW - 95}
    states = [
        state_of(beat(0, collective=True), NOW, "sleeping"),
        state_of(beat(1, **said), NOW, "sleeping", ["pool.py:3 in _wait"], helpers),
    ]
    assert [finding.words for finding in verdict(states)] == [
        "rank 1 (process 41 on here) waits for the reward function reward_sums.py:score in judge of step 3, without an "
        "answer for 95 s; process 77, sleeping, stands at reward_sums.py:12 in score",
        "rank 0 waits for rank 1 in judge of step 3 (95 s)",
    ]
    assert [finding.level for finding in verdict(states)] == ["bad", "note"]


@pytest.mark.parametrize(
    ("seconds", "level", "ending"), [(12, "well", ""), (95, "note", "; its own time-out will end that")]
)
def test_a_rank_that_waits_for_an_engine_is_named_with_it_and_since_when(seconds: int, level: str, ending: str) -> None:
    engine = {"waiting_for": "the engine at http://h:1", "waiting_since": NOW - seconds, "bounded": True}
    said = {"phase": "sample", "progress": NOW - 1, **engine}
    (found,) = verdict([state_of(beat(**said), NOW, "sleeping")])
    assert found.words == (
        f"rank 0 (process 40 on here) waits for the engine at http://h:1 in sample of step 3, without an answer for "
        f"{seconds} s{ending}"
    )
    assert found.level == level


def test_a_lost_rank_is_the_culprit_whatever_others_do() -> None:
    states = [state_of(beat(0), NOW, "running"), state_of(beat(1, beat=NOW - 60), NOW, "")]
    assert [state.beat.rank for state in culprits(states)] == [1]
    assert "has ended without a word" in verdict(states)[0].words


def test_ranks_that_get_on_are_well() -> None:
    states = [state_of(beat(rank, progress=NOW - 1), NOW, "running") for rank in range(2)]
    assert {finding.level for finding in verdict(states)} == {"well"}
    assert "gets on in judge of step 3" in verdict(states)[0].words


def test_ranks_that_all_wait_in_collectives_are_told_to_compare_them() -> None:
    found = verdict([state_of(beat(rank, collective=True), NOW, "sleeping") for rank in range(2)])
    assert [finding.level for finding in found] == ["note", "note"]
    assert "as all others do" in found[0].words and "different collectives" in found[0].advice


@pytest.mark.parametrize(
    ("timeout", "seconds", "stuck"), [(1800, 29, False), (1800, 31, True), (10, 6, True), (10, 4, False)]
)
def test_being_stuck_is_a_matter_of_half_the_run_s_time_out_or_half_a_minute(
    timeout: float, seconds: float, stuck: bool
) -> None:
    assert state_of(beat(progress=NOW - seconds, stall_timeout=timeout), NOW, "running").stuck is stuck


def test_a_phase_is_compared_with_its_own_median() -> None:
    lines = [{"step": i, "time/judge": took} for i, took in enumerate((2.0, 3.0, 2.0))]
    assert against_median(beat(), NOW, lines) == "judge has taken 95 s so far, 48x its median of 2 s"
    assert against_median(beat(since=NOW - 5.9), NOW, lines) == ""
    assert against_median(beat(), NOW, []) == ""
    assert against_median(beat(), NOW, [{"step": 1, "time/judge": 40.0}]) == "", "2.4 times is no surprise"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"rank": 0}', "null"])
def test_a_torn_word_is_refused_with_what_is_wrong(content: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Beat.read(content)


def test_a_word_says_the_same_after_it_was_written_and_read() -> None:
    said = beat(1, waiting_for="x", waiting_since=3.0)
    assert Beat.read(said.text()) == said
    with pytest.raises(ValueError, match="its pid is no number"):
        Beat.read(said.text().replace('"pid": 41', '"pid": "41"'))
