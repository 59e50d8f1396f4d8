"""Doctor on runs that are finished, dead, torn or elsewhere: plain words, never a traceback."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.diagnosis import keeping, waiting, watched
from lightrft_apps.diagnosis.examination import examine_run
from lightrft_apps.diagnosis.run_files import size_of
from lightrft_strategy.checkpoints import put_aside, write_checkpoint
from lightrft_strategy.training.beats import Beat, beat_file, write_beat
from lightrft_strategy.training.pulse import Pulse

Command = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of two steps, whose processes are gone."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("max_steps: 6\n")
    lines = [{"step": step, "reward/mean": 0.25 * step, "time/step": 2.0, "time/judge": 1.0} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks of other machines are watched for a moment alone."""
    monkeypatch.setattr(watched, "WATCHED", 0.1)


def leave_word(run: Path, **more: Any) -> Beat:
    """Of a rank that is a process of this machine, unless `more` says otherwise."""
    pulse = Pulse()
    pulse.doing("judge", 3)
    beat = replace(Beat.of(pulse, 0, 1, 3), **more)
    (run / "heartbeats").mkdir(exist_ok=True)
    write_beat(run / "heartbeats", beat)
    return beat


def tells(words: str, pattern: str, seconds: int) -> bool:
    """Whether so many seconds are told, or some more, for the machine may be busy."""
    (told,) = re.findall(pattern, words)
    return seconds <= int(told) < seconds + 60


def test_a_finished_run_is_well(lightrft: Command, run: Path) -> None:
    (run / "summary.json").write_text(json.dumps({"steps": 6, "seconds": 12.0}))
    ended = lightrft("doctor", str(run))
    assert ended.code == 0 and "is finished: 6 steps in 12 s" in ended.out
    assert "2 of 6 done; the last: reward/mean 0.5" in ended.out


def test_a_folder_that_is_no_run_is_refused_by_name(lightrft: Command, tmp_path: Path) -> None:
    ended = lightrft("doctor", str(tmp_path))
    assert ended.code == 2
    assert ended.err == f"lightrft doctor: --run {tmp_path}: there is no run (config.yaml) in this folder\n"


def test_a_dead_run_is_told_apart_from_one_that_is_at_work(lightrft: Command, run: Path) -> None:
    assert "is not finished, and no process of this machine works on it" in lightrft("doctor", str(run)).out
    leave_word(run, pid=2**22 + 1)
    dead = lightrft("doctor", str(run))
    assert dead.code == 1 and "has ended without a word, last seen in judge of step 3" in dead.out
    assert "the same command goes on from the newest checkpoint" in dead.out
    with (run / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert "is in use: a process is starting or ending" in lightrft("doctor", str(run)).out


def test_a_rank_that_ended_of_an_error_is_told_with_it(lightrft: Command, run: Path) -> None:
    leave_word(run, state="failed", why="RewardFailure: step 3: 16 of 16 samples could not be judged")
    ended = lightrft("doctor", str(run))
    assert ended.code == 1 and "because RewardFailure: step 3: 16 of 16 samples" in ended.out


def test_a_process_that_has_got_the_number_of_a_rank_is_never_signalled(
    lightrft: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_word(run, pid=os.getpid(), started=1)
    sent: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *words: sent.append(words))
    assert "has ended without a word" in lightrft("doctor", str(run)).out
    leave_word(run, pid=os.getpid())
    before = signal.getsignal(signal.SIGUSR1)
    assert before == signal.SIG_DFL, "this process would not survive the signal"
    lightrft("doctor", str(run))
    assert sent == []


@contextmanager
def beating(run: Path, clock: float) -> Iterator[None]:
    """A rank of another machine that has judged for 80 s, whose clock is so many seconds ahead of ours."""
    over = threading.Event()

    def beat() -> None:
        for count in itertools.count(1):
            now = time.time() + clock
            said = {"beat": now, "progress": now - 80, "since": now - 80, "count": count}
            leave_word(run, pid=1, host="far-away", **said)
            if over.wait(0.05):
                return

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        while not beat_file(run / "heartbeats", 0).exists():
            time.sleep(0.01)
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("clock", [-600, 0, 600])
def test_a_rank_of_another_machine_that_says_something_new_lives_whatever_its_clock_says(
    run: Path, clock: float
) -> None:
    with beating(run, clock):
        first = examine_run(run).verdict[0].words
    assert tells(first, r"\(process 1 on far-away\) makes no progress in judge of step 3 for (\d+) s", 80)


@pytest.mark.usefixtures("soon")
def test_a_rank_of_another_machine_whose_clock_is_ahead_is_silent_once_nothing_new_comes(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (watched, waiting):
        monkeypatch.setattr(module, "SILENT_SECONDS", 0.6)
    leave_word(run, pid=1, host="far-away", beat=time.time() + 600, progress=time.time() + 600)
    words = examine_run(run).verdict[0].words
    assert tells(words, r"\(process 1 on far-away\) gives no sign for (\d+) s", 1)


@pytest.mark.usefixtures("soon")
def test_a_run_of_another_machine_is_judged_by_its_last_word(lightrft: Command, run: Path) -> None:
    said = {"host": "far-away", "beat": time.time(), "progress": time.time() - 80, "where": ("reward.py:3 in score",)}
    leave_word(run, pid=1, **said)
    ended = lightrft("doctor", str(run))
    stuck = r"\(process 1 on far-away\) makes no progress in judge of step 3 for (\d+) s; it stands at reward\.py:3"
    assert tells(ended.out, stuck, 80)
    leave_word(run, pid=1, host="far-away", beat=time.time() - 100)
    words = lightrft("doctor", str(run)).out
    assert tells(words, r"\(process 1 on far-away\) gives no sign for (\d+) s", 100)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("content", ["", '{"rank": 0, "wor', "[1]", "\x00\x00"])
def test_torn_files_are_named_and_the_rest_is_read(lightrft: Command, run: Path, content: str) -> None:
    leave_word(run, host="far-away", beat=time.time(), progress=time.time())
    beat_file(run / "heartbeats", 1).write_text(content)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "rewa')
    (run / "rejected.jsonl").write_text('{"source": "a", "row": 1, "reason": "no label"}\n{"sou')
    (run / "config.yaml").write_text("max_steps: [")
    ended = lightrft("doctor", str(run))
    assert ended.code == 0 and "Traceback" not in ended.err
    assert "rank_1.json cannot be read" in ended.out and "gets on in judge of step 3" in ended.out
    assert "line 3 cannot be read" in ended.out and "2 done" in ended.out
    assert "1 x no label" in ended.out


def test_json_says_the_same_to_programs(lightrft: Command, run: Path) -> None:
    leave_word(run, pid=2**22 + 1)
    said = json.loads(lightrft("doctor", str(run), "--json").out)
    assert said["well"] is False and said["numbers"]["ranks"][0]["status"] == "gone"
    assert said["numbers"]["last_metrics"]["step"] == 2
    assert [finding["level"] for finding in said["verdict"]] == ["bad", "bad"]


def test_damaged_checkpoints_and_a_full_disk_are_red(
    lightrft: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        write_checkpoint(
            run / "checkpoints", step, lambda folder: (folder / "a.bin").write_bytes(b"x" * 5000) and None, keep=5
        )
    well = lightrft("doctor", str(run))
    assert "whole: those of step 1, 2 (sizes compared)" in well.out and well.code == 0
    damaged = run / "checkpoints" / "step_2" / "a.bin"
    damaged.write_bytes(b"y" * 5000)
    assert "whole: those of step 1, 2" in lightrft("doctor", str(run)).out
    read = lightrft("doctor", str(run), "--checksums")
    assert read.code == 1 and str(damaged) in read.out and "whole: those of step 1 (every byte read)" in read.out
    usage = shutil.disk_usage(run)
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda path: usage._replace(free=5000))
    assert "make room, or keep fewer by --max_ckpt_num" in lightrft("doctor", str(run)).out


def test_checkpoints_put_aside_are_named_with_their_size_and_what_to_do_with_them(lightrft: Command, run: Path) -> None:
    folder = run / "checkpoints"
    for step in (1, 2, 3):
        write_checkpoint(folder, step, lambda place: (place / "a.bin").write_bytes(bytes(5_000_000)) and None, keep=5)
    put_aside(folder, after=1)
    (folder / "step_3.damaged" / "a.bin").write_bytes(bytes(12_000_000))
    ended = lightrft("doctor", str(run), "--checksums")
    assert ended.code == 0 and "whole: those of step 1 (every byte read)" in ended.out
    for step, size in ((2, "0.005"), (3, "0.012")):
        line = f" ! checkpoints  {folder}/step_{step}.damaged takes {size} GB: it was found damaged and put aside, and "
        advice = (
            "delete it, or move it out of the folder to look at it: the run removes it once it has passed that step"
        )
        assert f"{line}nothing reads it\n     -> {advice}\n" in ended.out
    said = json.loads(lightrft("doctor", str(run), "--json").out)
    told = {Path(each["folder"]).name: each["bytes"] for each in said["numbers"]["damaged_checkpoints"]}
    assert told == {name: size_of(folder / name) for name in ("step_2.damaged", "step_3.damaged")}
    assert min(told.values()) > 5_000_000
    words = [finding["words"] for finding in said["sections"]["On disk"]]
    assert [f"step_{step}.damaged takes" in words[step - 1] for step in (2, 3)] == [True, True]


def test_what_the_metrics_warned_of_and_still_do_is_told_and_what_has_become_slow(lightrft: Command, run: Path) -> None:
    usual = {"rollout/entropy_estimate": 1.0, "rollout/length_mean": 5.0, "group/zero_signal_share": 0.1}
    usual |= {"rollout/truncated_share": 0.0, "time/judge": 2.0, "policy/skipped_share": 0.0}
    lines = [{"step": step, **usual} for step in range(1, 12)]
    lines += [{"step": step, **usual, "rollout/entropy_estimate": 0.01, "group/zero_signal_share": 0.6,
               "time/judge": 20.0, "policy/skipped_share": 1.0} for step in range(12, 17)]  # fmt: skip
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = lightrft("doctor", str(run)).out
    assert "entropy collapsed to 0.010 nats" in said and "optimiser steps were skipped" in said
    assert "time/judge" in said and "20 s in the last 5 steps, 2 s in the median of all" in said
