"""What a process waits for is told while it waits for its engine, and said with the rank once it has waited in vain."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from lightrft_core import SamplingParams
from lightrft_strategy.engines.attended import Attended
from lightrft_strategy.engines.backend import Completion, EngineDied, EngineRefused, EngineTimeout, Part, Request
from lightrft_strategy.engines.fleet import Fleet
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received, Tolerance
from lightrft_strategy.training.pulse import Pulse

URL = "http://10.0.0.1:8000"
REQUESTS = [Request((token,), SamplingParams(), token) for token in range(4)]
ANSWER = Completion([1], [-1.0], stopped=True)


class Stand:
    """Stands for a server; while it works it writes down what `pulse` says is waited for.

    work: done after its first answer, and in place of everything else.
    """

    name = "stand"
    cannot: Mapping[str, str] = {"top_k": "why not"}
    survives = True

    def __init__(self, pulse: Pulse, url: str = URL, work: Callable[[], None] = lambda: None) -> None:
        self.pulse, self.url, self.work = pulse, url, work
        self.seen: list[Any] = []

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        done(0, ANSWER)
        self._see()
        for index in range(1, len(requests)):
            done(index, ANSWER)

    def score(self, token_ids: Sequence[int]) -> list[float]:
        self._see()
        return [-1.0]

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        self._see()
        return [Received(version, {})]

    def sleep(self) -> None:
        self._see()

    def wake(self, part: Part) -> None:
        self._see()

    def restart(self) -> None:
        self._see()

    def close(self) -> None:
        self._see()

    def _see(self) -> None:
        self.seen.append(self.pulse.awaited())
        self.work()


def nothing(index: int, answer: Completion) -> None: ...


CALLS: dict[str, tuple[Callable[[Attended], object], str]] = {
    "complete": (lambda engine: engine.complete(REQUESTS, nothing), ""),
    "score": (lambda engine: engine.score([1, 2]), ""),
    "receive": (lambda engine: engine.receive(3, []), " to take new weights"),
    "sleep": (lambda engine: engine.sleep(), " to give its memory back"),
    "wake": (lambda engine: engine.wake("cache"), " to take its memory again"),
    "restart": (lambda engine: engine.restart(), " to start again"),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_the_engine_is_asked_for_is_told_while_it_works_and_no_longer(name: str) -> None:
    pulse = Pulse()
    server = Stand(pulse)
    engine = Attended(server, pulse, 2)
    assert (engine.name, engine.cannot, engine.survives) == (server.name, server.cannot, server.survives)
    call, more = CALLS[name]
    call(engine)
    ((what, since, bounded),) = server.seen
    assert (what, bounded) == (f"the engine at {URL}{more}", True) and since <= time.time()
    assert pulse.awaited() is None


@pytest.mark.parametrize("error", [EngineDied, EngineTimeout])
@pytest.mark.parametrize("name", CALLS)
def test_a_wait_in_vain_names_rank_phase_engine_and_since_when(name: str, error: type[Exception]) -> None:
    def fail() -> None:
        time.sleep(0.02)
        raise error("it is gone\nthe end of its log")

    pulse = Pulse()
    pulse.doing("sample", 3)
    call, more = CALLS[name]
    with pytest.raises(error) as raised:
        call(Attended(Stand(pulse, work=fail), pulse, 2))
    words = rf"rank 2 waited for the engine at {URL}{more} in sample of step 3, in vain since [-\d]+ [:\d]+ \(\d+ s\): "
    assert re.fullmatch(words + "it is gone\nthe end of its log", str(raised.value))
    assert pulse.awaited() is None


def test_since_when_is_since_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    pulse = Pulse()

    class Slow(Stand):
        def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
            nonlocal now
            now += 300
            done(0, ANSWER)
            self._see()
            now += 45
            raise EngineTimeout("no progress")

    server = Slow(pulse)
    with pytest.raises(EngineTimeout, match=re.escape(" (45 s): no progress")) as raised:
        Attended(server, pulse, 0).complete(REQUESTS, nothing)
    assert server.seen == [(f"the engine at {URL}", 1_000_300.0, True)]
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1_000_300.0)) in str(raised.value)


def test_answers_and_what_else_it_says_are_the_server_s_own() -> None:
    pulse, got = Pulse(), dict[int, Completion]()
    engine = Attended(Stand(pulse), pulse, 0)
    engine.complete(REQUESTS, got.__setitem__)
    assert got == dict.fromkeys(range(4), ANSWER)
    assert engine.score([1, 2]) == [-1.0] and engine.receive(7, [])[0].version == 7

    def refuse() -> None:
        raise EngineRefused("no")

    with pytest.raises(EngineRefused, match=r"^no$"):
        Attended(Stand(pulse, work=refuse), pulse, 0).score([1, 2])


def test_of_several_engines_those_are_waited_for_that_still_have_to_answer() -> None:
    pulse, over = Pulse(), threading.Event()
    servers = [Stand(pulse, "http://a"), Stand(pulse, "http://b", lambda: assert_(over.wait(240)))]
    fleet = Fleet([Attended(server, pulse, 0) for server in servers], Tolerance(1e-4, 1e-4))
    thread = threading.Thread(target=fleet.complete, args=(REQUESTS, nothing))
    thread.start()
    try:
        deadline = time.monotonic() + 240
        while (awaited := pulse.awaited()) is None or awaited[0] != "the engine at http://b":
            assert time.monotonic() < deadline, awaited
            time.sleep(0.01)
        assert awaited[2], "its time-out ends that"
    finally:
        over.set()
        thread.join()


def assert_(holds: bool) -> None:
    assert holds
