"""Getting on is told apart from being stuck: by what a thread does, by signs, by nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lightrft_strategy.training import pulse as pulses
from lightrft_strategy.training.pulse import Awaited, Pulse

WORKING = "the thread"


@contextmanager
def beside(work: Callable[[Pulse, threading.Event], None]) -> Iterator[Pulse]:
    """The pulse of a thread that does some work of its own until the block ends."""
    made: list[Pulse] = []
    ready, over = threading.Event(), threading.Event()

    def run() -> None:
        made.append(Pulse())
        ready.set()
        work(made[0], over)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(60)
        while all(frame.function != work.__name__ for frame in made[0].stack()):
            time.sleep(0.01)
        time.sleep(0.05)
        yield made[0]
    finally:
        over.set()
        thread.join(60)


def looked(pulse: Pulse, times: int = 4, most: float = 10.0) -> float:
    """Seconds without progress after some looks, 50 ms apart."""
    for _ in range(times):
        pulse.look(most)
        time.sleep(0.05)
    return pulse.idle


def sleeps(pulse: Pulse, over: threading.Event) -> None:
    over.wait(600)


def computes(pulse: Pulse, over: threading.Event) -> None:
    while not over.is_set():
        sum(range(20_000))


def in_one_call(pulse: Pulse, over: threading.Event) -> None:
    """Computes inside of a single call of C."""
    import hashlib

    while not over.is_set():
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 400_000)


def polls(pulse: Pulse, over: threading.Event) -> None:
    with pulse.waiting("the reward f", "signs"):
        computes(pulse, over)


def is_answered(pulse: Pulse, over: threading.Event) -> None:
    with pulse.waiting("the reward f", "signs") as sign:
        while not over.wait(0.01):
            sign()


def asks_a_server(pulse: Pulse, over: threading.Event) -> None:
    pulse.doing("sample", 1, Awaited("the server", "bounded"))
    over.wait(600)


@pytest.mark.parametrize(
    ("work", "gets_on"),
    [
        (sleeps, False),
        (computes, True),
        (in_one_call, True),
        (polls, False),
        (is_answered, True),
        (asks_a_server, True),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_thread_gets_on_if_it_computes_or_is_answered(
    work: Callable[[Pulse, threading.Event], None], gets_on: bool
) -> None:
    with beside(work) as pulse:
        pulse.look(10.0)
        looks = (looked(pulse, times=1) == 0.0 for _ in range(200 if gets_on else 6))
        assert any(looks) is gets_on


def test_a_few_ticks_of_a_sleeping_thread_s_clock_never_add_up_to_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(pulses, "_seconds", lambda task: clock[0])
    with beside(sleeps) as pulse:
        pulse.look(10.0)
        now = [100.0]
        monkeypatch.setattr(pulses.time, "monotonic", lambda: now[0])
        pulse._looked = now[0]
        for _ in range(200):
            now[0] += 2.0
            clock[0] += 0.01
            pulse.look(10.0)
        assert pulse.idle == pytest.approx(400.0)


def test_time_in_which_the_whole_process_does_not_run_is_no_idleness() -> None:
    with beside(sleeps) as pulse:
        pulse.look(10.0)
        pulse.look(10.0)
        before = pulse.idle
        pulse._looked -= 3600
        pulse.look(6.0)
        assert pulse.idle == pytest.approx(before + 6.0)


def test_a_new_phase_and_the_end_of_a_wait_are_progress() -> None:
    with beside(sleeps) as pulse:
        for change in (lambda: pulse.doing("judge", 2), lambda: pulse.waiting("x").__enter__()):
            assert looked(pulse) > 0.1
            change()
            pulse.look(10.0)
            assert pulse.idle == 0.0


def test_what_is_waited_for_is_the_innermost_or_that_of_the_phase() -> None:
    pulse = Pulse()
    assert pulse.awaited() is None
    pulse.doing("evaluate", 4, Awaited("the server", "bounded"))
    assert pulse.awaited() == ("the server", pulse.since, True)
    with pulse.waiting("the reward f", "signs"), pulse.waiting("the reward model rm"):
        what, since, bounded = pulse.awaited() or ("", 0.0, True)
        assert (what, bounded) == ("the reward f; the reward model rm", False) and since >= pulse.since
    assert pulse.awaited() == ("the server", pulse.since, True)
    pulse.doing("judge", 4)
    assert pulse.awaited() is None


def test_a_wait_is_in_vain_since_its_begin_or_since_something_came_last() -> None:
    pulse, began = Pulse(), time.time()
    with pulse.waiting("a", "bounded") as of_a, pulse.waiting("b", "bounded") as of_b:
        first = pulse.awaited()
        assert first is not None and began <= first[1] <= time.time()
        time.sleep(0.02)
        of_b()
        assert pulse.awaited() == first, "a has heard nothing"
        of_a()
        later = pulse.awaited()
        assert later is not None and first[1] + 0.02 <= later[1] <= time.time()


def test_a_signal_that_comes_amid_a_change_finds_out_what_is_awaited() -> None:
    """As the end of a run by its launcher does, in the thread that it interrupts."""
    pulse, found = Pulse(), list[object]()

    def interrupted() -> None:
        with pulse._lock:
            found.append(pulse.awaited())

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(120)
    assert found == [None]
