"""A server of our own starts, is watched, and leaves no process behind, however it or we end."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from lightrft_strategy.engines.backend import EngineDied, EngineTimeout
from lightrft_strategy.engines.server_process import ServerProcess, free_port

from ..forked import a_pipe, start

SERVER = """
import os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

print("greetings from", os.environ["WHO"], flush=True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)", sys.argv[2]])

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/exit":
            os._exit(3)
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, *args):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""A server with a worker process of its own; both are known by the mark on their command lines."""

Make = Callable[..., ServerProcess]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def mark(tmp_path: Path) -> str:
    return f"mark-{tmp_path.name}-{os.getpid()}"


@pytest.fixture
def make(port: int, mark: str) -> Iterator[Make]:
    """make(program, path="/health", timeout=240.0) -> a ServerProcess of a Python program; stopped at the end."""
    made: list[ServerProcess] = []

    def build(program: str = SERVER, path: str = "/health", timeout: float = 240.0) -> ServerProcess:
        command = [sys.executable, "-c", program, str(port), mark]
        made.append(ServerProcess(command, {"WHO": "us"}, f"http://127.0.0.1:{port}{path}", "server", timeout))
        return made[-1]

    yield build
    for server in made:
        server.stop()


def marked(mark: str) -> list[int]:
    """Processes that run with this mark. A zombie has no command line."""
    return [process.pid for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or ())]


def none_left(mark: str) -> bool:
    deadline = time.monotonic() + 60
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not marked(mark)


def test_starts_answers_and_stops_with_all_its_processes(make: Make, mark: str) -> None:
    server = make()
    server.start()
    assert server.alive
    assert "greetings from us" in server.log_tail()
    assert len(marked(mark)) == 3
    server.stop()
    assert not server.alive
    assert not marked(mark)


def test_starts_again_after_its_death(make: Make) -> None:
    server = make()
    server.start()
    os.killpg(server.pid, signal.SIGKILL)
    while server.alive:
        time.sleep(0.02)
    assert "server was killed by signal 9" in str(server.death())
    server.start()
    assert server.alive


def test_a_server_that_ends_is_reported_with_its_exit_code_and_log(make: Make) -> None:
    server = make("print('no such model'); raise SystemExit(7)")
    with pytest.raises(EngineDied, match=r"(?s)server ended with exit code 7.*no such model"):
        server.start()


def test_a_server_that_does_not_become_ready_times_out_and_is_ended(make: Make, mark: str) -> None:
    server = make(path="/never", timeout=4.0)
    with pytest.raises(EngineTimeout, match=r"(?s)not ready within 4 s: http://127.*/never.*greetings"):
        server.start()
    assert not marked(mark)


def test_a_server_that_ignores_requests_to_end_is_killed(
    make: Make, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightrft_strategy.engines.server_process.GRACE_SECONDS", 0.5)
    server = make("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER)
    server.start()
    server.stop()
    assert not marked(mark)


def test_a_server_that_is_stopped_is_ended_without_waiting_for_it(
    make: Make, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightrft_strategy.engines.server_process.GRACE_SECONDS", 100.0)
    server = make()
    server.start()
    os.killpg(server.pid, signal.SIGSTOP)
    began = time.monotonic()
    server.stop()
    assert not marked(mark) and time.monotonic() - began < 50


def test_a_dead_server_leaves_no_workers_after_stop(make: Make, mark: str) -> None:
    server = make()
    server.start()
    child = psutil.Process(server.pid).children()[0]
    child.kill()
    while server.alive:
        time.sleep(0.02)
    assert "was killed by signal 9" in str(server.death())
    server.stop()
    assert not marked(mark)


def test_workers_of_a_dead_server_may_put_their_things_in_order(make: Make, mark: str, tmp_path: Path) -> None:
    worker = f"""
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.5)
    pathlib.Path({str(tmp_path / "order")!r}).touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path({str(tmp_path / "ready")!r}).touch()
time.sleep(900)
"""
    server = make(SERVER.replace('"import time; time.sleep(900)"', repr(worker)))
    server.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    psutil.Process(server.pid).children()[0].kill()
    while server.alive:
        time.sleep(0.02)
    server.stop()
    assert not marked(mark)
    assert (tmp_path / "order").exists()


def starts_and_never_stops(command: list[str], health_url: str, end: str, started: Connection) -> None:
    """A process of ours. At its end an interpreter does what `atexit` was told, which a fork has to ask for."""
    ServerProcess(command, {"WHO": "parent"}, health_url, "server", 240.0).start()
    started.send("started")
    if end == "hang":
        time.sleep(900)
    atexit._run_exitfuncs()


@pytest.mark.parametrize("end", ["exit", "hang"])
def test_nothing_outlives_us(end: str, port: int, mark: str) -> None:
    """exit: without a stop. hang: until we are killed by SIGKILL."""
    started, theirs = a_pipe(duplex=False)
    server = [sys.executable, "-c", SERVER, str(port), mark]
    parent = start(starts_and_never_stops, server, f"http://127.0.0.1:{port}/health", end, theirs)
    try:
        assert started.poll(240) and started.recv() == "started"
        if end == "hang":
            assert marked(mark)
            parent.kill()
        parent.join(240)
        assert none_left(mark)
    finally:
        parent.kill()


def test_nothing_outlives_a_killed_guard(make: Make, mark: str) -> None:
    server = make(SERVER.replace("subprocess.Popen", "str"))
    server.start()
    os.kill(server.pid, signal.SIGKILL)
    assert none_left(mark)
