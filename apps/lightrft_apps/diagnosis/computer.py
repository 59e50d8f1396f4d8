"""The computer: Python, processor, memory, disk, and what a container allows of them."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from lightrft_apps.diagnosis.findings import Finding

GIB = 2**30
PYTHONS = ((3, 11), (3, 13))
"""From the first to below the second."""
LITTLE_MEMORY, LITTLE_DISK, LITTLE_SHARED = 4 * GIB, 10 * GIB, GIB // 4
_CGROUP = Path("/sys/fs/cgroup")
_SHARED = Path("/dev/shm")


def computer(here: Path, cgroup: Path = _CGROUP) -> Iterator[Finding]:
    """What this machine is. here: a folder of the disk that counts. cgroup: where a container's bounds are read."""
    fits = PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]
    asked = " to ".join(".".join(map(str, version)) for version in PYTHONS)
    yield Finding(
        "Python",
        "well" if fits else "bad",
        f"{platform.python_version()} at {sys.executable}",
        "" if fits else f"lightrft wants {asked} (the last not included): uv python pin 3.11",
    )
    linux = platform.system() == "Linux"
    yield Finding("system", "well" if linux else "note", platform.platform(), "" if linux else "only Linux is tried")
    yield _processors(cgroup)
    yield _memory(cgroup)
    free = shutil.disk_usage(here).free
    yield _room("disk", f"{free / GIB:.0f} GiB free at {here}", free, LITTLE_DISK, "checkpoints need more")
    if _SHARED.is_dir():
        free = shutil.disk_usage(_SHARED).free
        advice = "weights go to engine servers through it: docker run --shm-size=8g, or --vllm_sync_backend gloo"
        yield _room("shared memory", f"{free / GIB:.1f} GiB free at {_SHARED}", free, LITTLE_SHARED, advice)


def allowed_memory(cgroup: Path = _CGROUP) -> int | None:
    """Bytes that the container may use, None where there is no bound."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        bound = _number(cgroup / name)
        if bound is not None and bound < psutil.virtual_memory().total:
            return bound
    return None


def allowed_processors(cgroup: Path = _CGROUP) -> float | None:
    """Processors' worth of time that the container may use, None where there is no bound."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        quota_us, period_us = _number(cgroup / "cpu/cpu.cfs_quota_us"), _number(cgroup / "cpu/cpu.cfs_period_us")
        return quota_us / period_us if quota_us and quota_us > 0 and period_us else None


def _processors(cgroup: Path) -> Finding:
    usable, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    bound = allowed_processors(cgroup)
    shown = f"{usable} usable of {os.cpu_count()}" + (f", {bound:g} allowed by the container" if bound else "")
    busy = load > 2 * min(usable, bound or usable)
    return Finding(
        "processors",
        "note" if busy else "well",
        f"{shown}, load {load:.1f}",
        "others use this machine: times will be longer than they could be" if busy else "",
    )


def _memory(cgroup: Path) -> Finding:
    memory, bound = psutil.virtual_memory(), allowed_memory(cgroup)
    free = (
        memory.available if bound is None else min(memory.available, bound - (_number(cgroup / "memory.current") or 0))
    )
    shown = f"{free / GIB:.1f} GiB free of {memory.total / GIB:.1f}"
    shown += f", {bound / GIB:.1f} allowed by the container" if bound else ""
    return _room("memory", shown, free, LITTLE_MEMORY, "lightrft plan tells what a run needs")


def _room(subject: str, words: str, free: int, little: int, advice: str) -> Finding:
    return Finding(subject, "well", words) if free >= little else Finding(subject, "note", words, advice)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
