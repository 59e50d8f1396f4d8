"""What a run has on disk: its checkpoints, room for the next one, rows it could not use."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lightrft_apps.diagnosis.findings import Finding, Level
from lightrft_apps.diagnosis.run_files import rejected_reasons, size_of
from lightrft_apps.recording.directory import RunDirectory
from lightrft_strategy.checkpoints import checkpoints, damaged_checkpoints
from lightrft_strategy.manifest import check_files, read_manifest

GB = 1e9
_SHOWN = 3
_ASIDE = "delete it, or move it out of the folder to look at it: the run removes it once it has passed that step"
_NONE_WHOLE = "the run cannot go on: put the files back, or remove the checkpoints to begin again"


def kept(run: RunDirectory, *, checksums: bool) -> Iterator[Finding]:
    """Checkpoints, whole, damaged or put aside, the disk, and rejected rows.

    checksums: read every byte of the checkpoints that were not put aside.
    """
    present = checkpoints(run.checkpoints)
    whole, faults = [], []
    for step, folder in present.items():
        try:
            check_files(folder, read_manifest(folder), checksums=checksums)
            whole.append(step)
        except ValueError as error:
            faults.append(str(error))
    how = "every byte read" if checksums else "sizes compared"
    if whole:
        steps = ", ".join(map(str, whole))
        yield Finding("checkpoints", "well", f"whole: those of step {steps} ({how})")
    elif not present:
        yield Finding("checkpoints", "note", "there is none: a run that is killed begins again")
    advice = "the same command goes on from the newest whole one" if whole else _NONE_WHOLE
    for fault in faults:
        yield Finding("checkpoints", "bad", fault, advice)
    for folder, size in damaged_sizes(run).items():
        words = f"{folder} takes {size / GB:.3g} GB: it was found damaged and put aside, and nothing reads it"
        yield Finding("checkpoints", "note", words, _ASIDE)
    yield _room(run.path, size_of(present[max(present)]) if present else 0)
    yield from _rejected(run)


def damaged_sizes(run: RunDirectory) -> dict[Path, int]:
    """The folders of checkpoints that were found damaged, when the run went on, with their bytes."""
    return {folder: size_of(folder) for folder in damaged_checkpoints(run.checkpoints).values()}


def _room(path: Path, needed: int) -> Finding:
    """Whether another checkpoint fits beside the ones that are there: it is written before an old one is removed."""
    free = shutil.disk_usage(path).free
    level: Level = "bad" if free < needed else "note" if free < 2 * needed else "well"
    words = (
        f"{free / GB:.1f} GB free; a checkpoint takes {needed / GB:.3g} GB" if needed else f"{free / GB:.1f} GB free"
    )
    advice = "" if level == "well" else "make room, or keep fewer by --max_ckpt_num or --max_ckpt_mem"
    return Finding("disk", level, words, advice)


def _rejected(run: RunDirectory) -> Iterator[Finding]:
    reasons = rejected_reasons(run)
    if reasons:
        most = "; ".join(f"{count} x {reason}" for reason, count in Counter(reasons).most_common(_SHOWN))
        yield Finding("rejected rows", "note", f"{len(reasons)}, in {run.rejected}: {most}")
