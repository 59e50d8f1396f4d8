"""Whole runs that get stuck: in a reward, in an engine, in a process that is stopped. Doctor and the run name which."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from lightrft_apps.diagnosis.examination import examine_run
from lightrft_apps.diagnosis.findings import Finding, Found
from lightrft_strategy.training.heartbeat import EXIT_CODE

pytestmark = [pytest.mark.timeout(400), pytest.mark.proof]

REWARD = """
import os, pathlib, time

def held():
    return pathlib.Path(__file__).with_name("sleep").exists() and os.environ.get("RANK", "1") == "1"

if held():
    time.sleep(1000)

def score(prompts, responses, labels):
    if held():
        os._exit(1)
    return [sum(letter in "02468" for letter in response) / max(1, len(response)) for response in responses]
"""
"""Its worker ends, and that which takes its place sleeps while it loads the file."""
SLEEPS_AT = "reward_that_sleeps.py:8 in <module>"
STALL = 15
LONG = ["--max_steps=500", "--num_episodes=500", "--eval_steps=-1", "--save_steps=-1"]


@contextmanager
def running(words: list[str], processes: int) -> Iterator[subprocess.Popen[str]]:
    launcher = ["launch", f"--nproc_per_node={processes}"] if processes > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "lightrft_apps", *launcher, *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()
            process.kill()


def after_steps(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until a run has done so many steps."""
    deadline, metrics = time.monotonic() + 240, folder / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < count:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)


def examined(folder: Path, holds: Callable[[Found], bool], seconds: float = 120) -> Found:
    deadline = time.monotonic() + seconds
    while not (folder / "heartbeats").is_dir():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while not holds(found := examine_run(folder)):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


def bad(found: Found) -> bool:
    return any(finding.level == "bad" for finding in found.verdict)


def told(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=180)
    return output


@pytest.mark.parametrize("processes", [1, 2])
def test_a_reward_that_sleeps_is_named_with_its_line_and_who_waits_for_it(
    task: Any, tmp_path: Path, processes: int
) -> None:
    reward, folder = tmp_path / "reward_that_sleeps.py", tmp_path / "run"
    reward.write_text(REWARD)
    flags = [f"--reward_fn={reward}:score", f"--stall_timeout={STALL}"]
    with running(task.words(folder, *flags, *LONG), processes) as process:
        after_steps(process, folder, 3)
        (tmp_path / "sleep").touch()
        found = examined(folder, bad)
        output = told(process)
        assert process.returncode == (EXIT_CODE if processes == 1 else 1)
    rank = processes - 1
    first = found.verdict[0].words
    assert re.match(
        rf"rank {rank} \(process \d+ on .*\) waits for the reward function {re.escape(str(reward))}:score", first
    )
    assert f"sleeping, stands at {SLEEPS_AT}" in first
    assert any(SLEEPS_AT in lines[0] for lines in found.stacks.values())
    assert any("x its median" in finding.words for finding in found.verdict)
    if processes == 2:
        assert any(re.match(r"rank 0 waits for rank 1 in judge of step \d+", line.words) for line in found.verdict)
    (why, *_), ended = re.findall(r"because (.*)", output), output.count(" because ")
    assert ended == processes
    assert why.startswith(f"rank {rank} (process ") and f"(--stall_timeout {STALL})" in why
    assert f"stands at {SLEEPS_AT}" in why


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_stopped_is_named_by_the_doctor_and_by_the_others(
    task: Any, tmp_path: Path, victim: int
) -> None:
    folder = tmp_path / "run"
    with running(task.words(folder, *LONG, f"--stall_timeout={STALL}"), 2) as process:
        after_steps(process, folder, 3)
        beat = json.loads((folder / "heartbeats" / f"rank_{victim}.json").read_text())
        os.kill(beat["pid"], signal.SIGSTOP)
        stopped = examined(folder, bad).verdict[0].words
        output = told(process)
        assert process.returncode == 1
    name = f"rank {victim} (process {beat['pid']} on {socket.gethostname()})"
    assert stopped.startswith(f"{name} is stopped in ")
    why = re.findall(rf"rank {1 - victim}: ended in .* because (.*)", output)
    assert len(why) == 1 and why[0].startswith(f"{name} gives no sign for ")
    assert "its process is stopped (SIGSTOP)" in why[0] and f"(--stall_timeout {STALL})" in why[0]


class Deaf(BaseHTTPRequestHandler):
    """An engine that never answers."""

    def do_GET(self) -> None:
        time.sleep(1000)

    do_POST = do_GET


def test_an_engine_that_does_not_answer_is_named_by_the_doctor_and_by_the_run_s_error(
    task: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Deaf)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    flags = ["--engine_type=vllm", f"--engine_url={url}", "--engine_timeout=40", "--eval_steps=-1"]
    try:
        with running(task.words(folder, *flags), 1) as process:

            def named(found: Found) -> bool:
                return any(finding.subject == "engine" and finding.level == "bad" for finding in found.verdict)

            engine: list[Finding] = [f for f in examined(folder, named).verdict if f.subject == "engine"]
            output = told(process)
        assert engine[0].words.startswith(f"the engine at {url} does not answer /health")
        assert process.returncode == 1 and url in output and "within 40 s" in output
    finally:
        server.shutdown()
