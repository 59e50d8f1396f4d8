"""An engine that hangs or dies in the middle of sampling: doctor says who waits for it, the run's error since when."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest

from lightrft_apps.config import EngineArgs, RanksArgs
from lightrft_apps.diagnosis import engine_servers
from lightrft_apps.diagnosis.examination import examine_run
from lightrft_apps.diagnosis.findings import Found
from lightrft_apps.engines.own import open_backend
from lightrft_apps.failures import explained
from lightrft_apps.models.parallel import several
from lightrft_core import SamplingParams
from lightrft_strategy.engines.backend import Completion, Request
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.sync.receipt import Tolerance

from ..forked import a_pipe, start
from .test_stuck import verdict_once
from .test_stuck_runs import LONG, after_steps, examined, running, told

pytestmark = pytest.mark.timeout(600)

PATIENCE, STALL = 20.0, 2.0
BUSY = 100.0
"""Seconds after which the end has another cause than PATIENCE, however busy the machine is."""
ANSWERS = 3
"""How many the stand-in gives, one of them when it is attached to, before it stops or dies."""
ANSWER = {"finish_reason": "stop", "token_ids": [0], "logprobs": {"content": [{"logprob": 0.0}]}}


def serve(port: Connection, by: int) -> None:
    """Stands for a vLLM server, which a signal to itself ends or holds in the middle of sampling."""
    lock, given = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(b"")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                given[0] += 1
                if given[0] > ANSWERS:
                    os.kill(os.getpid(), by)
                    threading.Event().wait()  # a signal to the process may reach another thread first
                self._say(json.dumps({"choices": [ANSWER]}).encode())

        def _say(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None: ...

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # of more than that, the system resets those that a stopped process does not accept

    server = Server(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


def sample(url: str, folder: Path, errors: Connection) -> None:
    """A run that samples."""
    os.dup2(errors.fileno(), sys.stderr.fileno())
    args = EngineArgs(engine_type="vllm", engine_url=url)
    config = EngineConfig("none", "float32", max_model_len=8, seed=1, url=(url,), timeout=PATIENCE)
    requests = [Request((token,), SamplingParams(), token) for token in range(20)]
    ranks = RanksArgs(stall_timeout=STALL)
    with explained("lightrft rl"), several(ranks) as together:
        together.keep(folder / "heartbeats", ranks)
        together.doing("sample", 3)
        open_backend(args, config, (0,), Tolerance(1e-4, 1e-4), together).complete(requests, nothing)


def nothing(index: int, answer: Completion) -> None: ...


@contextmanager
def sampling_run(folder: Path, by: int) -> Iterator[tuple[Any, str, Connection]]:
    """(the run's process, the url of its engine, what it says on standard error)"""
    heard, port = a_pipe(duplex=False)
    server = start(serve, port, by)
    port.close()
    processes = [server]
    try:
        assert heard.poll(240)
        url = f"http://127.0.0.1:{heard.recv()}"
        (folder / "config.yaml").write_text(f"engine_url: {url}\n")
        said, errors = a_pipe(duplex=False)
        processes.append(start(sample, url, folder, errors))
        errors.close()
        yield processes[1], url, said
    finally:
        for process in processes:
            process.kill()


def test_an_engine_that_hangs_while_it_samples_is_named_by_the_doctor_and_by_the_run_s_error_within_its_time_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_servers, "ANSWER_SECONDS", 0.2)
    with sampling_run(tmp_path, signal.SIGSTOP) as (process, url, said):
        waits = rf"rank 0 \(process {process.pid} on .*\) waits for the engine at {url} in sample of step 3, "
        lines = verdict_once(tmp_path, has("its own time-out will end that"))
        seen = re.match(rf"{waits}without an answer for (\d+) s; its own time-out will end that$", lines[0])
        assert seen and STALL / 2 <= int(seen[1]) < BUSY
        assert lines[1].startswith(f"the engine at {url} does not answer /health: ")
        began = time.monotonic()
        process.join(200)
        assert process.exitcode == 1 and time.monotonic() - began < BUSY
        words = os.read(said.fileno(), 1 << 20).decode()
    waited = rf"rank 0 waited for the engine at {url} in sample of step 3, in vain since [-\d]+ [:\d]+ \((\d+) s\): "
    why = rf"the vLLM server at {url} made no progress for {PATIENCE:g} s; answers missing: 1[78]"
    said_so = re.fullmatch(rf"lightrft rl: {waited}{why}\n", words)
    assert said_so, words
    assert PATIENCE <= int(said_so[1]) < BUSY
    ended = examine_run(tmp_path).verdict[0].words
    assert re.search(rf"ended in sample of step 3, because EngineTimeout: {waited}{why}$", ended)


def test_an_engine_that_dies_while_it_samples_and_is_not_the_run_s_own_ends_it_with_its_name(tmp_path: Path) -> None:
    with sampling_run(tmp_path, signal.SIGKILL) as (process, url, said):
        process.join(200)
        assert process.exitcode == 1
        words = os.read(said.fileno(), 1 << 20).decode()
    waited = rf"rank 0 waited for the engine at {url} in sample of step 3, in vain since [-\d]+ [:\d]+ \(\d+ s\): "
    assert re.match(rf"lightrft rl: {waited}the vLLM server at {url} is gone: ", words)


@pytest.fixture
def words(task: Any, tmp_path: Path, tiny_model: Callable[..., Any]) -> Callable[..., list[str]]:
    """words(folder, *flags): a run that never ends, with a vLLM server of its own."""
    shape = {"hidden_size": 256, "num_attention_heads": 4, "initializer_range": 0.05, "eos_token_id": 0}
    model = tmp_path / "model"
    model.mkdir()
    for file in (task.folder / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    tiny_model(vocab_size=19, **shape).save_pretrained(model)
    engine = ["--engine_type=vllm", "--engine_server", "--enforce_eager", f"--pretrain={model}"]
    return lambda folder, *flags: task.words(folder, *LONG, *engine, *flags)


def server_while_it_samples(folder: Path) -> int:
    """The process group of the run's server, in a phase in which it samples."""
    while True:
        beat = json.loads((folder / "heartbeats" / "rank_0.json").read_text())
        if beat["phase"] == "sample":
            (child, *_) = engine_servers.own_servers(beat["pid"])
            return os.getpgid(child.pid)
        time.sleep(0.005)


def has(words: str) -> Callable[[Found], bool]:
    return lambda found: any(words in finding.words for finding in found.verdict)


@pytest.mark.proof
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is one of the extras")
def test_a_vllm_server_that_is_stopped_in_a_run_ends_it_within_the_time_out(words: Any, tmp_path: Path) -> None:
    folder, patience = tmp_path / "run", 90
    with running(words(folder, f"--engine_timeout={patience}"), 1) as process:
        after_steps(process, folder, 3)
        group = server_while_it_samples(folder)
        os.killpg(group, signal.SIGSTOP)
        stopped = time.monotonic()
        found = examined(folder, has("its own time-out will end that"))
        output = told(process)
        assert process.returncode == 1 and time.monotonic() - stopped < 1.25 * patience + 20
    phase = r"(sample|publish) of step \d+"
    engine = r"the engine at http://127\.0\.0\.1:\d+( to take new weights)?"
    assert re.match(rf"rank 0 \(.*\) waits for {engine} in {phase}, without an answer", found.verdict[0].words)
    assert any(f.subject == "engine" and f.level == "bad" and "is stopped" in f.words for f in found.verdict)
    assert re.search(rf"rank 0 waited for {engine} in {phase}, in vain since .* \(\d+ s\): the vLLM server at", output)
    assert not psutil.pid_exists(group)


@pytest.mark.proof
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is one of the extras")
def test_a_vllm_server_that_is_killed_in_a_run_is_waited_for_by_name_until_it_is_there_again(
    words: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with running(words(folder, "--engine_timeout=200"), 1) as process:
        after_steps(process, folder, 3)
        os.killpg(server_while_it_samples(folder), signal.SIGKILL)
        found = examined(folder, has(" to start again in "))
        assert re.match(
            r"rank 0 \(.*\) waits for the engine at http://127\.0\.0\.1:\d+ to start again in \w+ of step \d+, without",
            found.verdict[0].words,
        )
        done = (folder / "metrics.jsonl").read_text().count("\n")
        after_steps(process, folder, done + 3)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["sync/restarts"] == 1
