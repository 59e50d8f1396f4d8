"""The servers of a run's engines: found by the command that started them, and by nothing else that listens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightrft_apps.diagnosis.engine_servers import own_servers, servers
from lightrft_apps.diagnosis.waiting import state_of
from lightrft_strategy.engines.server_process import ServerProcess, free_port
from lightrft_strategy.training.beats import Beat
from lightrft_strategy.training.pulse import Pulse

SERVER = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
SILENT = """
import socket
of_workers = socket.create_server(("127.0.0.1", 0))
print("ready", flush=True)
input()
"""
MODULES = ["sglang.launch_server", "vllm.entrypoints.launchers.api_server.entry"]


@contextmanager
def listening(*words: str) -> Iterator[int]:
    """A child of ours that listens, speaks no HTTP, and was started with these words."""
    command = [sys.executable, "-S", "-c", SILENT, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            yield child.pid
        finally:
            child.kill()


@pytest.mark.parametrize("module", MODULES)
def test_a_server_of_a_run_is_asked_and_no_other_child_that_listens(module: str, tmp_path: Path) -> None:
    *packages, name = module.split(".")
    folder = tmp_path
    for package in packages:
        folder /= package
        folder.mkdir()
        (folder / "__init__.py").touch()
    (folder / f"{name}.py").write_text(SERVER)
    port = free_port()
    command = [sys.executable, "-m", module, "--port", str(port)]
    server = ServerProcess(command, {"PYTHONPATH": str(tmp_path)}, f"http://127.0.0.1:{port}/health", "stand-in", 60)
    server.start()
    state = state_of(Beat.of(Pulse(), 0, 1, 1), 0.0, "running")
    try:
        with listening(module, "--port", str(port)), listening("multiprocessing.spawn", "vllm"):
            (found,) = servers([state], {})
            assert found.level == "well" and found.words.endswith(f"at http://127.0.0.1:{port} answers")
            (process,) = own_servers(os.getpid())
            assert process.ppid() == server.pid
    finally:
        server.stop()


def test_a_server_that_still_loads_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "sglang").mkdir()
    (tmp_path / "sglang" / "launch_server.py").write_text("print('ready', flush=True)\ninput()")
    command = [sys.executable, "-m", "sglang.launch_server", "--port", str(free_port())]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            (found,) = servers([state_of(Beat.of(Pulse(), 0, 1, 1), 0.0, "running")], {})
            assert found.level == "note" and found.words.endswith("does not listen yet")
        finally:
            child.kill()
