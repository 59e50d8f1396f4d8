"""A filter of system calls: those of `syscalls`, some of them with certain arguments only, and no others (seccomp-bpf).

It is what denies network, new processes, and signals to others, and it binds root as well. A filter only looks at
numbers, never through pointers, so that it cannot be raced.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable

from lightrft_rewards.sandbox.kernel import PR_SET_SECCOMP, SECCOMP_MODE_FILTER, prctl
from lightrft_rewards.sandbox.syscalls import ANYTHING, CHANGING_FILES, Machine

_LOAD, _AND = 0x20, 0x54
_EQUAL, _GREATER_EQUAL, _RETURN = 0x15, 0x35, 0x06

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_EPERM = 0x00050000 | 1
_ENOSYS = 0x00050000 | 38

_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000

_THREAD = 0x00010000 | 0x00000100 | 0x00000800  # CLONE_THREAD | CLONE_VM | CLONE_SIGHAND
_NAMESPACES = 0x7E020080  # every CLONE_NEW...
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_TMPFILE's own bit
_FCNTL = (0, 1, 2, 3, 4, 1030)  # duplicating, and reading and setting flags: no locks, no signals to an owner
_IOCTL = (0x5450, 0x5451, 0x5421, 0x541B, 0x5401, 0x5413)  # FIO(N)CLEX, FIONBIO, FIONREAD, TCGETS, TIOCGWINSZ
_UNIX, _STREAM, _TYPE = 1, 1, 0xF

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def filter_calls(machine: Machine, *, own_files: bool, process: int) -> None:
    """Have the kernel refuse this process, for good, all that the filter does not allow. Raises OSError.

    own_files, process: as for program. The process must have set no_new_privs.
    """
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program(machine, own_files, process))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, _Program(len(code) // 8, code))


def program(machine: Machine, own_files: bool, process: int) -> list[Instruction]:
    """The filter as BPF instructions (code, jump if true, jump if false, value).

    own_files: whether it may change files (where it has a file system of its own). process: its id, the only one it may
    signal.
    """
    instructions: list[Instruction] = [
        *_unless_equal(_ARCHITECTURE, [machine.audit], _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER_EQUAL, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    free = machine.numbers(f"{ANYTHING} {CHANGING_FILES}" if own_files else ANYTHING)
    for number in free:
        instructions += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for name, checks in _conditions(own_files, process).items():
        for number in machine.numbers(name):
            body = [*checks, (_RETURN, 0, 0, _ALLOW)]
            instructions += [(_EQUAL, 0, len(body), number), *body]
    for number in machine.numbers("clone3"):
        instructions += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ENOSYS)]
    return [*instructions, (_RETURN, 0, 0, _EPERM)]


def _conditions(own_files: bool, process: int) -> dict[str, list[Instruction]]:
    """Call -> what refuses it unless its arguments are right. Only the low half of an argument is looked at where the
    kernel looks at no more."""
    conditions = {
        "kill": _unless_equal(_argument(0), [process]),
        "tgkill": _unless_equal(_argument(0), [process]),
        "clone": [
            *_unless_equal(_argument(0), [_THREAD], mask=_THREAD),
            *_unless_equal(_argument(0), [0], mask=_NAMESPACES),
        ],
        "prlimit64": [*_unless_equal(_argument(2), [0]), *_unless_equal(_argument(2) + 4, [0])],
        "fcntl": _unless_equal(_argument(1), _FCNTL),
        "ioctl": _unless_equal(_argument(1), _IOCTL),
        "socketpair": [
            *_unless_equal(_argument(0), [_UNIX]),
            *_unless_equal(_argument(1), [_STREAM], mask=_TYPE),
        ],
    }
    if not own_files:
        conditions["open"] = _unless_equal(_argument(1), [0], mask=_WRITING)
        conditions["openat"] = _unless_equal(_argument(2), [0], mask=_WRITING)
    return conditions


def _argument(place: int) -> int:
    """Where the low half of an argument lies (both processors are little-endian)."""
    return _ARGUMENTS + 8 * place


def _unless_equal(
    place: int, values: Iterable[int], otherwise: int = _EPERM, mask: int = 0xFFFFFFFF
) -> list[Instruction]:
    """Go on if the word there, under the mask, is one of the values; else end with the action. Changes the
    accumulator."""
    wanted = list(values)
    load: list[Instruction] = [(_LOAD, 0, 0, place)]
    if mask != 0xFFFFFFFF:
        load.append((_AND, 0, 0, mask))
    tests = [(_EQUAL, len(wanted) - number, 0, value) for number, value in enumerate(wanted)]
    return [*load, *tests, (_RETURN, 0, 0, otherwise)]
