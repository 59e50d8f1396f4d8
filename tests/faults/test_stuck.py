"""A run that gets on no more ends by itself within its time-out, and says which rank is stuck, where, and in what."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.config import RanksArgs
from lightrft_apps.diagnosis.examination import examine_run
from lightrft_apps.diagnosis.findings import Found
from lightrft_apps.models.parallel import several
from lightrft_strategy.training.heartbeat import EXIT_CODE

from ..forked import a_pipe, start

pytestmark = pytest.mark.timeout(600)

STALL = 12.0
"""Long enough for the doctor to look in before the end, on a machine that has other things to do."""


def sleeps_at_its_desk() -> None:
    time.sleep(900)


def a_rank(environment: dict[str, str], folder: Path, errors: Connection) -> None:
    """One of two ranks: the second never comes to the collective in which the first waits for it."""
    os.dup2(errors.fileno(), sys.stderr.fileno())
    os.environ.update(environment)
    args = RanksArgs(stall_timeout=STALL)
    with several(args) as together:
        together.keep(folder / "heartbeats", args)
        together.doing("judge", 3)
        if together.ranks.rank:
            sleeps_at_its_desk()
        together.ranks.gather([0])


@contextmanager
def two_ranks(port: int, folder: Path) -> Iterator[tuple[list[Any], Connection]]:
    said, errors = a_pipe(duplex=False)
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [start(a_rank, {**shared, "RANK": str(i), "LOCAL_RANK": str(i)}, folder, errors) for i in range(2)]
    errors.close()
    try:
        yield ranks, said
    finally:
        for rank in ranks:
            rank.kill()


def verdict_once(folder: Path, holds: Callable[[Found], bool], seconds: float = 200) -> list[str]:
    """The doctor's lines on a run, as soon as they are such."""
    deadline = time.monotonic() + seconds
    while not holds(found := examine_run(folder)):
        assert time.monotonic() < deadline, found.verdict
        time.sleep(0.2)
    return [finding.words for finding in found.verdict]


def is_bad(found: Found) -> bool:
    return any(finding.level == "bad" for finding in found.verdict)


def test_a_rank_that_sleeps_while_the_other_waits_is_named_by_the_doctor_and_by_the_run_s_own_error(
    unused_port: int, tmp_path: Path
) -> None:
    with two_ranks(unused_port, tmp_path) as (ranks, said):
        stuck, waits = verdict_once(tmp_path, is_bad)
        for rank in ranks:
            rank.join(200)
        assert [rank.exitcode for rank in ranks] == [EXIT_CODE, EXIT_CODE]
        told = os.read(said.fileno(), 1 << 20).decode()
    name = f"rank 1 (process {ranks[1].pid} on {socket.gethostname()})"
    assert re.match(rf"{re.escape(name)} makes no progress in judge of step 3 for \d+ s; it stands at ", stuck)
    assert "test_stuck.py:" in stuck and "in sleeps_at_its_desk" in stuck
    assert re.match(r"rank 0 waits for rank 1 in judge of step 3 \(\d+ s\)", waits)

    lines = [line for line in told.splitlines() if " because " in line]
    assert [line.split(":")[0] for line in sorted(lines)] == ["rank 0", "rank 1"]
    for line in lines:
        why = line.split(" because ")[1]
        assert re.match(
            rf"{re.escape(name)} makes no progress for \d+ s in judge of step 3 \(--stall_timeout {STALL:g}\)", why
        )
        assert "stands at test_stuck.py:" in why and "in sleeps_at_its_desk" in why
        assert "lost" not in line
    dump = (tmp_path / "heartbeats" / "rank_1.stack.txt").read_text()
    assert "sleeps_at_its_desk" in dump and "a_rank" in dump

    after = [finding.words for finding in examine_run(tmp_path).verdict]
    assert after[1].startswith(f"{name} ended in judge of step 3, because {name}")
    assert after[-1].startswith(f"{tmp_path} is not finished, and no process")


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
