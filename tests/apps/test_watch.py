"""A run looked at from a terminal: what is drawn is what its folder says, and nothing a model wrote touches it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf, nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lightrft_apps.drawing.terminal import BARS, bar, duration, spark
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.watching.frame import frame
from lightrft_apps.watching.readings import Readings

HOSTILE = "it is \x1b]0;owned\x07\x1b[2J\x9b31m \u202e7 and\ttab\nsecond line"


def metrics(step: int, **more: float) -> str:
    line = {"step": step, "reward/mean": step / 10, "policy/entropy": 1 / (step + 1), "time/step": 8.0}
    return json.dumps(line | {"time/sample": 6.0, "time/judge": 2.0, "memory/judge_peak_gib": 3.5} | more) + "\n"


def answer(run: Path, name: str, text: str, reward: float | None = 1.0) -> None:
    row = {"prompt": "3+4=", "response": text, "reward": reward, "finish_reason": "stop", "step": int(name[-6:])}
    (run / "trajectories").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row]), run / "trajectories" / f"{name}.parquet")


def beat(run: Path, rank: int, **more: Any) -> None:
    word = {"rank": rank, "phase": "judge", "step": 4, "since": time.time() - 65, "beat": time.time()}
    (run / "heartbeats").mkdir(exist_ok=True)
    (run / "heartbeats" / f"rank_{rank}.json").write_text(json.dumps(word | more))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three steps of a run of eight."""
    folder = tmp_path / "first"
    folder.mkdir()
    flags = {"pretrain": "some-model", "prompt_data": "rows.jsonl", "rule_reward": "number", "output_dir": "x"}
    (folder / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in flags.items()))
    (folder / "progress.json").write_text('{"num_steps": 8}')
    (folder / "metrics.jsonl").write_text("".join(metrics(step) for step in (1, 2, 3)))
    (folder / ".lock").touch()
    return folder


@contextmanager
def in_use(run: Path) -> Iterator[None]:
    with (run / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def drawn(run: Path, width: int = 100) -> str:
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(frame(Readings(RunDirectory(run)).read(), width))
    return capture.get()


def test_the_picture_says_how_far_the_run_is_what_it_does_and_how_it_goes(run: Path) -> None:
    beat(run, 0, waiting_for="the verdict of rm")
    beat(run, 1, beat=time.time() - 200, phase="optimise")
    answer(run, "step_000002", "older")
    answer(run, "step_000003", "it is 7")
    (run / "warnings.jsonl").write_text('{"step": 2, "warning": "entropy \\u001b[31m fell"}\n')
    with in_use(run):
        shown = drawn(run)
    assert "running" in shown and "lightrft rl  grpo  some-model" in shown
    assert "step 3 of 8" in shown and "38%" in shown and "24 s so far" in shown
    assert re.search(r"about (3\d|40) s left", shown)
    assert re.search(r"rank 0 +judging of step 4 +for 1 min \d\d s +waits for the verdict of rm", shown)
    assert re.search(r"no word for 3 min \d\d s", shown)
    assert re.search("reward +▁[▄▅]█ +0.3 +0.1 to 0.3", shown)
    assert re.search("sampling answers +█+ +6.0 s +75%", shown) and re.search("judging +█+ +2.0 s +25%", shown)
    assert "memory 3.50 GiB at most, while judging" in shown
    assert "one warning:\nstep 2: entropy \u241b[31m fell" in shown
    assert "an answer of step 3, reward 1, ends by stop\n  3+4=\n  it is 7" in shown and "older" not in shown


def test_a_run_that_nobody_works_on_is_said_to_be_stopped_and_one_with_a_summary_to_be_done(run: Path) -> None:
    beat(run, 0, state="failed", why="rank 1 is lost")
    shown = drawn(run)
    assert shown.startswith("stopped") and "the same command goes on" in shown and "left" not in shown
    assert "failed: rank 1 is lost" in shown
    (run / "summary.json").write_text("{}")
    assert drawn(run).startswith("done") and "rank" not in drawn(run)


def test_what_is_not_there_or_torn_is_left_out(run: Path) -> None:
    for path in [run / "progress.json", run / "metrics.jsonl"]:
        path.write_text('{"torn')
    (run / "heartbeats").mkdir()
    (run / "heartbeats" / "rank_0.json").write_text("{")
    (run / "trajectories").mkdir()
    (run / "trajectories" / "step_000001.parquet").write_text("torn")
    (run / "config.yaml").write_text("no: such flag\n")
    shown = drawn(run)
    assert shown.startswith("stopped") and "step 0" in shown
    (run / "metrics.jsonl").unlink()
    assert drawn(run) == shown


def test_words_and_lines_that_are_json_of_another_kind_are_left_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    os.utime(run / "metrics.jsonl", (now, now))
    beat(run, 0)
    with in_use(run):
        shown = drawn(run)
    for number, said in enumerate(("[1]", '{"rank": [1], "phase": "judge"}', '{"rank": 7, "phase": "judge"}'), 1):
        (run / "heartbeats" / f"rank_{number}.json").write_text(said)
    beat(run, 4, since="long ago")
    beat(run, 5, beat=nan)
    beat(run, 6, phase=["judge"])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('5\n[1]\n{"step": "4"}\n')
    os.utime(run / "metrics.jsonl", (now, now))
    (run / "warnings.jsonl").write_text("5\n")
    with in_use(run):
        assert drawn(run) == shown


def test_of_many_ranks_those_are_shown_that_take_longest(run: Path) -> None:
    for rank in range(20):
        beat(run, rank, since=time.time() - 1000 - (100 if rank == 17 else -rank))
    with in_use(run):
        shown = drawn(run)
    assert "rank 17" in shown and "rank 19" not in shown and "and 12 more ranks" in shown


def test_lines_are_read_once_and_anew_when_a_resumed_run_has_cut_them(run: Path) -> None:
    readings = Readings(RunDirectory(run))
    assert [line["step"] for line in readings.read().lines] == [1, 2, 3]
    with (run / "metrics.jsonl").open("a") as file:
        file.write(metrics(4) + metrics(5)[:20])
    assert [line["step"] for line in readings.read().lines] == [1, 2, 3, 4]
    with (run / "metrics.jsonl").open("a") as file:
        file.write(metrics(5)[20:])
    assert [line["step"] for line in readings.read().lines] == [1, 2, 3, 4, 5]
    cut = run / "metrics.unfinished"
    cut.write_text(metrics(1) + metrics(2, **{"reward/mean": -1.0}) + metrics(3) + metrics(4) + metrics(5) + metrics(6))
    cut.rename(run / "metrics.jsonl")
    assert [line["reward/mean"] for line in readings.read().lines][:2] == [0.1, -1.0]


@given(st.lists(st.floats(allow_nan=True), max_size=200), st.integers(1, 60))
def test_a_row_of_bars_is_never_wider_than_its_room(values: list[float], width: int) -> None:
    row = spark([value / 2 for value in values], width)
    assert len(row) <= width and set(row) <= {*BARS}


def test_a_row_of_bars_goes_from_lowest_to_highest() -> None:
    assert spark([0.0, 1.0, nan, inf, 0.5], 10) == "▁█▅"
    assert spark(list(range(100)), 4) == "▁▃▆█"
    assert spark([2.0, 2.0], 10) == "▁▁" and spark([], 10) == ""


def test_bars_and_durations_are_exact() -> None:
    assert [bar(share, 4) for share in (0.0, 0.5, 0.53125, 1.0, 7.0)] == ["", "██", "██▏", "████", "████"]
    told = {0: "0 s", 0.25: "0.2 s", 59: "59 s", 185: "3 min 05 s", 7620: "2 h 07 min", 273600: "3 d 4 h"}
    assert {seconds: duration(seconds) for seconds in told} == told


class Terminal:
    """A command in a terminal of 100 columns and 45 lines, and the screen it draws."""

    def __init__(self, *words: str) -> None:
        self.screen = pyte.Screen(100, 45)
        self.stream = pyte.ByteStream(self.screen)
        self.side, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 100, 0, 0))
        environment = os.environ | {"TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(words, stdin=other, stdout=other, stderr=other, env=environment)
        os.close(other)
        self.written = b""

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, shown: Callable[[str], bool], seconds: float = 240) -> str:
        until = time.monotonic() + seconds
        while not shown(self.text()):
            assert time.monotonic() < until, self.text()
            if select.select([self.side], [], [], 0.1)[0]:
                try:
                    content = os.read(self.side, 65536)
                except OSError:
                    break
                self.written += content
                self.stream.feed(content)
        assert shown(self.text()), self.text()
        return self.text()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.side)


def test_the_live_view_follows_a_run_through_a_resume_to_its_end(run: Path) -> None:
    answer(run, "step_000003", HOSTILE)
    terminal = Terminal(sys.executable, "-m", "lightrft_apps", "watch", str(run), "--interval", "0.1")
    try:
        with in_use(run):
            shown = terminal.wait_for(lambda text: "step 3 of 8" in text and "running" in text)
            assert "it is \u241b]0;owned\u2407\u241b[2J<U+009B>31m <U+202E>7 and tab" in shown
            assert "owned" not in terminal.screen.title and b"\x1b]0;" not in terminal.written
            with (run / "metrics.jsonl").open("a") as file:
                file.write(metrics(4))
            terminal.wait_for(lambda text: "step 4 of 8" in text)
        terminal.wait_for(lambda text: "stopped" in text and "the same command goes on" in text)
        (run / "metrics.jsonl").write_text(metrics(1))
        (run / "trajectories" / "step_000003.parquet").unlink()
        with in_use(run):
            terminal.wait_for(lambda text: "step 1 of 8" in text and "owned" not in text)
        (run / "metrics.jsonl").write_text("".join(map(metrics, range(1, 9))))
        (run / "summary.json").write_text("{}")
        terminal.wait_for(lambda text: "done" in text and "step 8 of 8" in text)
        assert terminal.process.wait(240) == 0
    finally:
        terminal.close()


def test_a_folder_without_a_run_is_refused(tmp_path: Path, lightrft: Callable[..., Any]) -> None:
    ended = lightrft("watch", str(tmp_path))
    assert (ended.code, ended.out) == (2, "")
    assert "no run lies there" in ended.err
