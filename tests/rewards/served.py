"""Reward services for tests: scorers that do as they are told, real servers on loopback, and servers of others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.service.server import RewardServer
from lightrft_rewards.service.service import ServiceLimits

SECRET = "xyzzy-the-answer-of-a-user"


class Scripted:
    """A scorer by the texts of its answers: the length is the score, and some answers do more.

    "error" has an error, "late" has timed out, "nan" is not a number, "crash" raises, "wait" waits for `let_go`; one
    that begins with "quote " is quoted in a note.
    batches: how many samples each call of `score` had; calls: how they were nested.
    """

    def __init__(self, fingerprint: str = "scripted") -> None:
        self.batches: list[int] = []
        self.calls: list[list[int]] = []
        self.seen: list[Sample] = []
        self.let_go = threading.Event()
        self.waiting = threading.Event()
        self.closed = 0
        self._fingerprint = fingerprint

    def score(self, calls: Sequence[Sequence[Sample]]) -> list[list[Outcome]]:
        self.batches.append(sum(len(call) for call in calls))
        self.calls.append([len(call) for call in calls])
        self.seen += [sample for call in calls for sample in call]
        return [[self._outcome(sample) for sample in call] for call in calls]

    def _outcome(self, sample: Sample) -> Outcome:
        match sample.response:
            case "error":
                return Outcome(error=f"{sample.name} is not to be judged")
            case "late":
                return Outcome(timed_out=True)
            case "nan":
                return Outcome(score=float("nan"), accuracy=0.0)
            case "crash":
                raise RuntimeError(f"crashed on {sample.response} {SECRET}")
            case "wait":
                self.waiting.set()
                assert self.let_go.wait(300)
        length = len(sample.response)
        steps = ((length, 0.25),) if length else ()
        notes = {"length": sample.response} if sample.response.startswith("quote ") else {}
        return Outcome(float(length), 0.5, {"length": 1.0}, {"seen": 2.0}, steps=steps, notes=notes)

    def fingerprint(self) -> str:
        return self._fingerprint

    def describe(self, sample: Sample) -> str:
        return f"scripted on {sample.name}"

    def close(self) -> None:
        self.closed += 1


@contextmanager
def running(scorer: Any, *, port: int = 0, key: str | None = None, **limits: Any) -> Iterator[RewardServer]:
    """A service in a thread of this process, ready to judge. On a port of its own it ends when nobody waits for it."""
    build = scorer if callable(scorer) else lambda: scorer
    server = RewardServer(build, port=port, key=key, limits=ServiceLimits(**limits), drain_seconds=5.0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.service.state != "loading")
        yield server
    finally:
        if isinstance(scorer, Scripted):
            scorer.let_go.set()
        server.stop()
        if port:
            thread.join(120)
            assert not thread.is_alive(), "others take the port next"


@contextmanager
def foreign(
    answer: Callable[[str, dict[str, Any]], tuple[int, Any]], health: dict[str, Any] | None = None
) -> Iterator[str]:
    """A server of somebody else; yields its URL. answer: path and body of a POST -> code and body; health: to a GET."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._send(*answer(self.path, body))

        def do_GET(self) -> None:
            self._send(*((404, {"detail": "Not Found"}) if health is None else (200, health)))

        def _send(self, code: int, content: Any) -> None:
            text = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


def until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something holds; fails if it does not in time."""
    patience = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < patience
        time.sleep(0.005)


def client_of(server: RewardServer, key: str | None = None) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False, verify=False, timeout=120.0)


def request(*responses: str, **more: Any) -> dict[str, Any]:
    """A request about these answers, each to a prompt of its own."""
    samples = [{"id": str(i), "prompt": f"prompt {i}", "response": text} for i, text in enumerate(responses)]
    return {"version": 1, "samples": samples, **more}
