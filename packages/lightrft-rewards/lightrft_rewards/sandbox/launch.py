"""A process for one program, and its keeper: the processes between the server and what it may not trust.

The server starts a process that makes the program's cell and starts the keeper in it, which there is process 1; then it
ends, and the server inherits the keeper. The keeper starts the program, waits for its end, and tells the server. If the
server ends, or has had enough, the keeper ends, and the kernel everything in its cell.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import select
import signal
from dataclasses import dataclass, fields
from typing import NoReturn

from lightrft_rewards.frames import encode
from lightrft_rewards.sandbox.confinement import confine
from lightrft_rewards.sandbox.grounds import Grounds
from lightrft_rewards.sandbox.jail import enter_cell
from lightrft_rewards.sandbox.limits import Limits

TOKEN, PROOF = 3, 4
"""A program's descriptors, beside the standard ones: what it reads at its end, and what it writes that to."""

_GIVEN = ("stdin", "token", "lifeline")
"""Pipes that the server writes to, or would."""

_HIGHEST = 1 << 16


@dataclass(frozen=True)
class Ends:
    """One side's ends of the pipes. report: the keeper's, in frames. lifeline: nothing passes; closing it is a sign."""

    stdin: int
    stdout: int
    stderr: int
    token: int
    proof: int
    report: int
    lifeline: int

    def close(self) -> None:
        """Close those that are still open."""
        for descriptor in vars(self).values():
            with contextlib.suppress(OSError):
                os.close(descriptor)


def start_program(grounds: Grounds, limits: Limits) -> Ends | None:
    """The server's ends of a new program's pipes; None in the process of the program itself, which by then is confined.

    What goes wrong on the way is in the report, as {"refused": why}.
    """
    theirs, ours = _pipes()
    child = os.fork()
    if child == 0:
        try:
            _descend(theirs, grounds, limits)
        except BaseException as error:  # noqa: BLE001
            _refuse(theirs, error)
        return None
    theirs.close()
    os.waitpid(child, 0)
    return ours


def _pipes() -> tuple[Ends, Ends]:
    """The program's and its keeper's ends, and the server's."""
    pairs = {item.name: os.pipe() for item in fields(Ends)}
    given = {name: pair if name in _GIVEN else pair[::-1] for name, pair in pairs.items()}
    theirs, ours = ({name: pair[side] for name, pair in given.items()} for side in (0, 1))
    return Ends(**theirs), Ends(**ours)


def _descend(ends: Ends, grounds: Grounds, limits: Limits) -> None:
    """From the server's child to the program's process, the only one that returns."""
    os.setsid()
    _keep_open(*vars(ends).values())
    if grounds.jailed:
        enter_cell(limits.folder)
    if os.fork() > 0:
        os._exit(0)
    keeper = os.getpid()
    program = os.fork()
    if program > 0:
        _keep(program, ends)
    places = {ends.stdin: 0, ends.stdout: 1, ends.stderr: 2, ends.token: TOKEN, ends.proof: PROOF}
    report = _rearranged(places, ends.report)
    ready = Ends(0, 1, 2, TOKEN, PROOF, report, -1)
    try:
        confine(grounds, limits, keeper)
    except BaseException as error:  # noqa: BLE001
        _refuse(ready, error)
    os.close(report)


def _keep(program: int, ends: Ends) -> NoReturn:
    """The keeper's whole life."""
    _keep_open(ends.report, ends.lifeline)
    poll = select.poll()
    poll.register(ends.lifeline, 0)
    poll.register(os.pidfd_open(program), select.POLLIN)
    if any(descriptor == ends.lifeline for descriptor, _ in poll.poll()):
        os.kill(program, signal.SIGKILL)
    _, status, usage = os.wait4(program, 0)
    spent = {"seconds": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}
    with contextlib.suppress(BrokenPipeError):
        os.write(ends.report, encode({"ended": os.waitstatus_to_exitcode(status), **spent}))
    os._exit(0)


def _refuse(ends: Ends, error: BaseException) -> NoReturn:
    """Say why there is no program, and end."""
    os.write(ends.report, encode({"refused": f"{type(error).__name__}: {error}"}))
    os._exit(1)


def _rearranged(places: dict[int, int], report: int) -> int:
    """Put each descriptor in its place, close all others but the report's. Returns where that one is now."""
    high = os.sysconf("SC_OPEN_MAX") // 2
    copies = {os.dup2(descriptor, high + place, inheritable=False): place for descriptor, place in places.items()}
    report = os.dup2(report, high + len(places), inheritable=False)
    for copy, place in copies.items():
        os.dup2(copy, place)
    _keep_open(*places.values(), report)
    return report


def _keep_open(*kept: int) -> None:
    """Close every descriptor but these, and but the standard ones."""
    bound = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _HIGHEST)
    edges = [2, *sorted(descriptor for descriptor in kept if descriptor > 2), bound]
    for low, high in itertools.pairwise(edges):
        os.closerange(low + 1, high)
