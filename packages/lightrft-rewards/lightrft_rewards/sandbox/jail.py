"""A root of its own: Linux namespaces in which there is no network, no other process, and hardly a file.

The server enters them once; each program gets a further process namespace and an empty folder in memory, bounded in
size, which go when it ends.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from lightrft_rewards.sandbox import kernel

FOLDER = "/sandbox"
"""Where a program may write, if anywhere."""

DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
"""What a program may use of these."""

_ROOT = "/proc"
_FILES = 4096
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/usr/share/zoneinfo")


def readable_paths() -> list[str]:
    """What a program needs to read: this Python's standard library and packages, and the system's libraries."""
    paths = [*_LIBRARIES, str(Path(sys.base_prefix) / "lib"), *package_paths(), sysconfig.get_path("stdlib")]
    kept: list[str] = []
    for path in map(Path, paths):
        if path.exists() and not any(path.is_relative_to(other) for other in kept):
            kept.append(str(path))
    return kept


def package_paths() -> list[str]:
    """Where this Python's installed packages lie."""
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


def enter_jail(readable: Iterable[str]) -> None:
    """Move this process into namespaces of its own, with a root that holds these paths, for reading, and some devices.

    As root by right, otherwise by way of a user namespace. Raises OSError where this machine allows neither; the
    process is then in an undefined state and has to end.
    """
    _leave_namespaces()
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", _ROOT, "tmpfs", kernel.MS_NOSUID, "size=1m,mode=755")
    for path in readable:
        _show(path, kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)
    for path in DEVICES:
        _show(path, kernel.MS_NOSUID)
    Path(_ROOT + FOLDER).mkdir()
    os.chdir(_ROOT)
    kernel.pivot_root()
    kernel.mount("none", "/", "", kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID)


def enter_cell(size: int) -> None:
    """For one program: an empty folder of at most `size` bytes, this user's, and a process namespace, whose first
    process is the next one that this process starts. Raises OSError."""
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
    options = f"size={size},nr_inodes={_FILES},mode=700"
    kernel.mount("tmpfs", FOLDER, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)


def _leave_namespaces() -> None:
    apart = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.unshare(apart)
    except PermissionError:
        kernel.unshare(apart | kernel.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _show(path: str, flags: int) -> None:
    """Have what lies at the path in the new root as well, with these flags."""
    target = Path(_ROOT + path)
    if Path(path).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    kernel.mount(path, str(target), "", kernel.MS_BIND | kernel.MS_REC)
    kernel.set_mount_flags(str(target), flags)
