"""Calls of the Linux kernel that Python does not offer (mount, unshare, prctl and their like), through ctypes."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_int, c_long, c_uint32, c_ulong, c_void_p

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_SETUID = 7

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def syscall(number: int, *arguments: int | ctypes.Array[ctypes.c_char] | ctypes.Structure | None) -> int:
    """The system call of that number. Structures and buffers are passed by reference. Raises OSError."""
    passed = [_passed(argument) for argument in arguments]
    return _checked(_libc.syscall(c_long(number), *passed), f"system call {number}")


def unshare(flags: int) -> None:
    """Leave the namespaces of the caller's parent (CLONE_NEW...). Raises OSError."""
    _checked(_libc.unshare(c_int(flags)), "unshare")


def prctl(option: int, argument: int | ctypes.Structure = 0, further: ctypes.Structure | None = None) -> None:
    """prctl(2). Raises OSError."""
    zero = c_ulong(0)
    last = zero if further is None else ctypes.byref(further)
    _checked(_libc.prctl(c_int(option), _passed(argument), last, zero, zero), f"prctl {option}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    pieces = (source.encode(), target.encode(), kind.encode() or None)
    code = _libc.mount(*map(c_char_p, pieces), c_ulong(flags), c_char_p(options.encode() or None))
    _checked(code, f"mount {target}")


def set_mount_flags(target: str, flags: int) -> None:
    """Add MS_RDONLY, MS_NOSUID, MS_NODEV to a mount and to all below it. Raises OSError (before Linux 5.12 too)."""
    attributes = _MountAttributes(attr_set=flags)
    path = ctypes.create_string_buffer(target.encode())
    syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, path, _AT_RECURSIVE, attributes, ctypes.sizeof(attributes))


def pivot_root() -> None:
    """Make the current folder, which must be a mount, the root of all, and forget the old root. Raises OSError."""
    _checked(_libc.pivot_root(c_char_p(b"."), c_char_p(b".")), "pivot_root")
    _checked(_libc.umount2(c_char_p(b"."), c_int(MNT_DETACH)), "umount")
    os.chdir("/")


def become(user: int, group: int) -> None:
    """From root, for good: count and signal as this user and group, who should be nobody else's, and without further
    groups; but read files as their owner root does (so that Python may lie in root's home). Raises OSError."""
    files = os.geteuid()
    os.setgroups([])
    os.setresgid(group, group, group)
    prctl(PR_SET_KEEPCAPS, 1)
    os.setresuid(user, user, user)
    keep_capabilities(1 << _CAP_SETUID)
    _libc.setfsuid(c_int(files))
    if _libc.setfsuid(c_int(-1)) != files:
        raise PermissionError(f"setfsuid {files}")


def keep_capabilities(kept: int) -> None:
    """Give up every capability but those of this mask, 0 for none at all, for good. Raises OSError."""
    header = (c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, (c_uint32 * 6)(kept, kept, 0, 0, 0, 0)), "capset")


def _passed(argument: int | ctypes.Array[ctypes.c_char] | ctypes.Structure | None) -> object:
    if argument is None:
        return c_void_p(None)
    return c_long(argument) if isinstance(argument, int) else ctypes.byref(argument)


def _checked(code: int, what: str) -> int:
    if code < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return code
