"""The last steps of a program's own process before it runs a line of it: from here there is no way back."""

from __future__ import annotations

import os
import resource
import signal

from lightrft_rewards.sandbox import kernel
from lightrft_rewards.sandbox.grounds import Grounds, count_tasks
from lightrft_rewards.sandbox.jail import DEVICES, FOLDER
from lightrft_rewards.sandbox.landlock import keep_only
from lightrft_rewards.sandbox.limits import MIB, Limits
from lightrft_rewards.sandbox.seccomp import filter_calls

_STACK = 64 * MIB
_SLACK = 64


def confine(grounds: Grounds, limits: Limits, keeper: int) -> None:
    """Give up all that a program may not have: resources, other users' rights, files, system calls. It leaves no core
    dump either, which some machines hand to a program of root's.

    keeper: the parent's process id, with which this one dies. Its descriptors must be closed already but for the
    program's own. Raises OSError if a step fails; the process must then end.
    """
    os.chdir(FOLDER if grounds.jailed else "/")
    os.umask(0o077)
    for kind, soft, hard in _bounds(grounds, limits):
        resource.setrlimit(kind, (soft, hard))
    if os.geteuid() == 0:
        kernel.become(grounds.user, grounds.group)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        raise ProcessLookupError("the program's keeper has ended")
    kernel.keep_capabilities(0)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if grounds.landlock:
        keep_only(grounds.readable, [*DEVICES, *([FOLDER] if grounds.jailed else [])], grounds.landlock)
    filter_calls(grounds.machine, own_files=grounds.jailed, process=os.getpid())


def _bounds(grounds: Grounds, limits: Limits) -> list[tuple[int, int, int]]:
    """(resource, soft, hard). A program deaf to the signal at the soft bound of its time is killed at the hard one."""
    memory = grounds.own_memory + limits.memory
    _, stack = resource.getrlimit(resource.RLIMIT_STACK)
    both = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: limits.folder,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: limits.threads + 1 + _others(grounds),
        resource.RLIMIT_STACK: _STACK if stack == resource.RLIM_INFINITY else min(_STACK, stack),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    return [
        (resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1),
        *((kind, bound, bound) for kind, bound in both.items()),
    ]


def _others(grounds: Grounds) -> int:
    """How many tasks the bound on an ordinary user's leaves to those that are not the program's, which count as well.
    Root's programs run as a user of their own."""
    if os.geteuid() == 0:
        return 0
    return _SLACK + (grounds.tasks if grounds.jailed else count_tasks(grounds.user))
