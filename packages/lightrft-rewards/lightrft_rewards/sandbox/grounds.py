"""What this machine offers to confine a program with, and whether that is enough."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightrft_rewards.sandbox.jail import enter_jail
from lightrft_rewards.sandbox.landlock import landlock_version
from lightrft_rewards.sandbox.syscalls import Machine, this_machine


class Refused(Exception):
    """Programs cannot be confined here; the message says what is missing."""


@dataclass(frozen=True)
class Grounds:
    """Where programs run.

    jailed: in namespaces and with a root of their own, where they have a folder to write in; otherwise they write
    nothing. landlock: its version, 0 without it. machine: the processor's system calls. user, group: whom they run as.
    readable: what they may read. own_memory: bytes of address space the interpreter takes by itself. tasks: how many
    processes and threads the user has apart from them.
    """

    jailed: bool
    landlock: int
    machine: Machine
    user: int
    group: int
    readable: Sequence[str]
    own_memory: int
    tasks: int


def take_grounds(readable: Sequence[str], jailed: bool | None) -> Grounds:
    """Prepare this process to run programs; it should have imported all it needs.

    jailed: True or False to insist on namespaces or on doing without; None for namespaces where the machine allows
    them. Raises Refused.
    """
    machine = this_machine()
    if machine is None or not os.uname().sysname == "Linux":
        raise Refused(f"it knows the system calls of Linux on x86-64 and arm64 alone, not of {platform.platform()}")
    landlock = landlock_version()
    user, group = _spare_ids()
    tasks = 0 if os.geteuid() == 0 else count_tasks(user)
    own_memory = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    why = _enter(readable) if jailed is not False else "they are not wanted"
    if why and (jailed or not landlock):
        raise Refused(
            f"files cannot be kept from a program: namespaces cannot be had ({why})"
            + ("" if landlock else ", and this kernel has no Landlock (Linux 5.13, among the kernel's lsm=...)")
        )
    return Grounds(not why, landlock, machine, user, group, readable, own_memory, tasks)


def count_tasks(user: int) -> int:
    """How many threads of how many processes the user has."""
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == user:
                    count += len(list(Path(entry.path, "task").iterdir()))
            except OSError:
                continue
    return count


def _enter(readable: Sequence[str]) -> str:
    """Enter the jail; what prevented it, if anything, after which this process is as it was."""
    child = os.fork()
    if child == 0:
        os._exit(_attempt(readable))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        return os.strerror(code)
    enter_jail(readable)
    return ""


def _attempt(readable: Sequence[str]) -> int:
    """The errno of trying in a process that can be thrown away; 0 if it worked."""
    try:
        enter_jail(readable)
    except OSError as error:
        return error.errno or 1
    return 0


def _spare_ids() -> tuple[int, int]:
    """Whom programs run as: this process's own user and group, or, since nothing binds root, ids nobody else has."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    return _spare("/proc/self/uid_map"), _spare("/proc/self/gid_map")


def _spare(table: str) -> int:
    """An id in the middle of the longest range that this process's user namespace has."""
    ranges = [line.split() for line in Path(table).read_text().splitlines()]
    length, start = max((int(words[2]), int(words[0])) for words in ranges)
    return start + length // 2 + os.getpid() % max(1, length // 4)
