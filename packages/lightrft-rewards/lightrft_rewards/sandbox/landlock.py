"""Landlock: a process gives up every file but those it names (Salaün 2021; Linux 5.13, documentation userspace-api)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterable

from lightrft_rewards.sandbox.kernel import syscall

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_BENEATH = 1

_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ | _TRUNCATE | _DEVICE_CONTROL


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def landlock_version() -> int:
    """The version of Landlock this kernel offers; 0 without it."""
    try:
        return syscall(_CREATE, 0, 0, _VERSION)
    except OSError:
        return 0


def keep_only(readable: Iterable[str], writable: Iterable[str], version: int) -> None:
    """Give up all files but these, TCP (version 4), and from version 6 abstract sockets and signals to the outside.

    readable, writable: folders with all they hold, or files; those that do not exist are left out.
    version: as landlock_version has it, above 0. The process must have set no_new_privs. Raises OSError.
    """
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    ruleset = _Ruleset(fs=handled, net=0b11, scoped=0b11)
    size = 8 if version < 4 else 16 if version < 6 else 24
    descriptor = syscall(_CREATE, ruleset, size, 0)
    for path in readable:
        _allow(descriptor, path, handled & (_READ | _LIST | _EXECUTE))
    for path in writable:
        _allow(descriptor, path, handled & ~_EXECUTE)
    syscall(_RESTRICT, descriptor, 0)
    os.close(descriptor)


def _allow(ruleset: int, path: str, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _FILE_RIGHTS
        syscall(_ADD, ruleset, _BENEATH, _Beneath(allowed=rights, parent=parent), 0)
        os.close(parent)
