"""Who waits for whom: what the ranks last said of themselves, and what their processes are seen to do, as verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lightrft_apps.diagnosis.findings import Finding, Level
from lightrft_strategy.training.beats import Beat
from lightrft_strategy.training.heartbeat import SILENT_SECONDS
from lightrft_strategy.training.stacks import Frame

Status: TypeAlias = Literal["done", "failed", "gone", "stopped", "silent", "collective", "waiting", "working"]

HELD = 10.0
"""Seconds without a beat after which a process that runs must be held up by something."""
STUCK = 30.0
"""Seconds without progress from which on one speaks of being stuck, or half of the run's own time-out."""


@dataclass(frozen=True)
class Helper:
    """A process that judges for a rank. state: as the kernel calls it, "sleeping". frames: innermost call first."""

    pid: int
    state: str
    frames: Sequence[Frame]

    @property
    def at_work(self) -> bool:
        """Whether it is in a user's code: between jobs it reads its input, in code of ours."""
        return any(not frame.of_a_library for frame in self.frames)

    def where(self) -> str:
        """Its innermost call in a user's code."""
        return next((frame for frame in self.frames if not frame.of_a_library), self.frames[0]).words()


@dataclass(frozen=True)
class RankState:
    """What is known of a rank. seconds: since it was last seen to get on, or to do anything at all.

    now: Unix time by the clock of its machine. stack: of the thread that trains, innermost call first, in words.
    """

    beat: Beat
    now: float
    status: Status
    seconds: float
    stack: Sequence[str] = ()
    helpers: Sequence[Helper] = ()

    @property
    def name(self) -> str:
        return f"rank {self.beat.rank} (process {self.beat.pid} on {self.beat.host})"

    @property
    def stuck(self) -> bool:
        """Whether it has not got on for so long that it should be looked at."""
        limit = min(STUCK, (self.beat.stall_timeout or 2 * STUCK) / 2)
        return self.status in ("stopped", "silent") or self.seconds > limit


def state_of(
    beat: Beat, now: float, process: str | None, stack: Sequence[str] = (), helpers: Sequence[Helper] = ()
) -> RankState:
    """What a rank's last word and its process say together.

    now: Unix time by the clock of its machine. process: its state as the kernel calls it, "" if there is none, None if
    it is another machine's.
    """
    age, idle = max(0.0, now - beat.beat), max(0.0, now - beat.progress)
    stood = stack or beat.where

    def state(status: Status, seconds: float) -> RankState:
        return RankState(beat, now, status, seconds, stood, helpers)

    if beat.state != "running":
        return state("done" if beat.state == "done" else "failed", age)
    if process == "":
        return state("gone", age)
    if process == "stopped":
        return state("stopped", age)
    if age > (HELD if process is not None else SILENT_SECONDS):
        return state("silent", age)
    if beat.collective:
        return state("collective", idle)
    if beat.bounded and beat.waiting_since is not None:
        return state("waiting", max(0.0, now - beat.waiting_since))
    return state("waiting" if beat.waiting_for else "working", idle)


_ORDER: tuple[Status, ...] = ("gone", "failed", "stopped", "silent", "waiting", "working", "collective", "done")


def culprits(states: Sequence[RankState]) -> list[RankState]:
    """Those the others wait for: the ranks that are lost or held, or else those that are in no collective."""
    for kinds in (("gone", "failed", "stopped", "silent"), ("waiting", "working")):
        found = [state for state in states if state.status in kinds]
        if found:
            return sorted(found, key=lambda state: (_ORDER.index(state.status), state.beat.rank))
    return []


def verdict(states: Sequence[RankState]) -> list[Finding]:
    """In plain lines: what each rank does, those that hold the others up first."""
    first = culprits(states)
    names = ", ".join(f"rank {state.beat.rank}" for state in first)
    waiting = [state for state in states if state.status == "collective"]
    lines = [_alone(state) for state in first]
    for state in waiting:
        level: Level = "note" if first and any(one.stuck or one.status == "gone" for one in first) else "well"
        whom = f"for {names}" if names else "in a collective, as all others do"
        advice = "" if names else "ranks that call different collectives wait for ever: compare their stacks"
        words = f"rank {state.beat.rank} waits {whom} in {state.beat.doing} ({_seconds(state.seconds)})"
        lines.append(Finding(f"rank {state.beat.rank}", level if names else "note", words, advice))
    return lines


def _alone(state: RankState) -> Finding:
    beat, subject = state.beat, f"rank {state.beat.rank}"
    since = _seconds(state.seconds)
    top = f"; it stands at {state.stack[0]}" if state.stack else ""
    if state.status == "gone":
        said = f"{state.name} has ended without a word, last seen in {beat.doing} {since} ago"
        return Finding(subject, "bad", said, "look for its error, or for the kernel's out-of-memory killer (dmesg)")
    if state.status == "failed":
        return Finding(subject, "bad", f"{state.name} ended in {beat.doing}, because {beat.why}")
    if state.status == "stopped":
        said = f"{state.name} is stopped in {beat.doing}, for {since}"
        return Finding(subject, "bad", said, f"kill -CONT {beat.pid} on {beat.host} lets it go on")
    if state.status == "silent":
        said = f"{state.name} gives no sign for {since}, last seen in {beat.doing}{top}"
        return Finding(
            subject, "bad", said, "something holds the whole process up: C code that keeps Python's lock, or its disk"
        )
    said = f"{state.name} waits for {beat.waiting_for} in {beat.doing}, without an answer for {since}"
    if beat.bounded and state.status == "waiting":
        ending = "; its own time-out will end that" if state.stuck else ""
        return Finding(subject, "note" if state.stuck else "well", said + ending)
    busy = [helper for helper in state.helpers if helper.at_work]
    if not state.stuck:
        what = f", where it waits for {beat.waiting_for}" if beat.waiting_for else ""
        return Finding(subject, "well", f"{state.name} gets on in {beat.doing}{what}")
    if state.status == "working":
        return Finding(subject, "bad", f"{state.name} makes no progress in {beat.doing} for {since}{top}")
    for helper in busy:
        said += f"; process {helper.pid}, {helper.state}, stands at {helper.where()}"
    return Finding(subject, "bad", said if busy else said + top)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
