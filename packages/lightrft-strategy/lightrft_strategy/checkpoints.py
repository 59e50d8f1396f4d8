"""Checkpoint folders that exist whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lightrft_strategy.manifest import check_files, read_manifest, seal
from lightrft_strategy.together import on_first, together

if TYPE_CHECKING:
    from lightrft_core import Ranks

_UNFINISHED = ".unfinished"
_REPLACED = ".replaced"
_DAMAGED = ".damaged"


def write_folder(folder: Path, fill: Callable[[Path], None], *, ranks: Ranks | None = None) -> None:
    """Let `fill` write into a folder beside `folder`, flush it to disk, and only then give it its name.

    Killed at any moment, this leaves either the whole folder or what was there before, and leftovers that the next call
    removes. An existing `folder` is replaced; killed between two renames, it is found whole under `folder`.replaced.
    ranks: None: this process alone; otherwise every rank calls it, and all fill the same folder, on a disk they share.
    What `fill` raises on one rank it raises on all (the others get a ValueError), and nothing is left of the folder.
    """
    unfinished, _ = leftovers(folder)
    try:
        on_first(ranks, lambda: _make_empty(unfinished))
        together(ranks, lambda: _fill(unfinished, fill))
        on_first(ranks, lambda: _publish(unfinished, folder))
    except BaseException:
        if ranks is None or ranks.rank == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
        raise


def leftovers(folder: Path) -> tuple[Path, Path]:
    """Where write_folder writes, and where it puts what was there before; whatever else lies there is removed."""
    return folder.with_name(folder.name + _UNFINISHED), folder.with_name(folder.name + _REPLACED)


def write_checkpoint(
    folder: Path,
    step: int,
    fill: Callable[[Path], None],
    *,
    keep: int,
    max_bytes: float | None = None,
    best: int | None = None,
    ranks: Ranks | None = None,
) -> list[Path]:
    """Write and seal `folder`/step_N, then remove others: see write_folder and prune_checkpoints.

    Returns, on rank 0, what was put aside as damaged and has been removed for max_bytes.
    """
    removed: list[Path] = []

    def fill_and_seal(unfinished: Path) -> None:
        together(ranks, lambda: fill(unfinished))
        on_first(ranks, lambda: seal(unfinished))

    write_folder(folder / f"step_{step}", fill_and_seal, ranks=ranks)
    on_first(ranks, lambda: removed.extend(prune_checkpoints(folder, keep=keep, max_bytes=max_bytes, best=best)))
    return removed


def checkpoints(folder: Path) -> dict[int, Path]:
    """The finished checkpoints in a folder by step, oldest first."""
    return _of_steps(folder, "")


def damaged_checkpoints(folder: Path) -> dict[int, Path]:
    """What put_aside has put aside in a folder by step, oldest first."""
    return _of_steps(folder, _DAMAGED)


def _of_steps(folder: Path, ending: str) -> dict[int, Path]:
    name = re.compile(rf"step_(\d+){re.escape(ending)}")
    found = {int(match[1]): path for path in folder.glob("step_*") if (match := name.fullmatch(path.name))}
    return dict(sorted(found.items()))


def newest_whole(folder: Path, *, checksums: bool = False, ranks: Ranks | None = None) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are all there, and what is wrong with those that are newer, newest first.

    checksums: read every byte, each rank its share; otherwise sizes are compared. With `ranks`, every rank calls it and
    gets the same answer. None where no checkpoint is whole.
    """
    steps = list(checkpoints(folder))
    if ranks is not None:
        steps = ranks.gather([steps])[0]
    faults: list[str] = []
    for path in (folder / f"step_{step}" for step in reversed(steps)):
        try:
            manifest = together(ranks, partial(read_manifest, path))
            check_files(path, manifest, checksums=checksums, ranks=ranks)
            return path, faults
        except ValueError as error:
            faults.append(str(error))
    return None, faults


def put_aside(folder: Path, *, after: int) -> list[Path]:
    """Rename the checkpoints of later steps to step_N.damaged, which nothing takes for one. Returns them newest first.

    prune_checkpoints removes them once there is a whole one of their step or of a later one, or for want of room.
    """
    aside = []
    for step, path in reversed(checkpoints(folder).items()):
        if step > after:
            place = path.with_name(path.name + _DAMAGED)
            shutil.rmtree(place, ignore_errors=True)
            aside.append(path.rename(place))
    return aside


def prune_checkpoints(
    folder: Path, *, keep: int, max_bytes: float | None = None, best: int | None = None, count_aside: bool = True
) -> list[Path]:
    """Remove all but the newest `keep` checkpoints and the best one, and what a kill has left of unfinished ones.

    Sizes are compared, no byte is read: call it where the newest whole one is known to be as it was written.

    keep: at least 1; of checkpoints whose files are all there: a damaged one never costs one before it.
    max_bytes: of all that are kept and all that was put aside, which goes first; then go those that lack files, the
    oldest, and the best; the newest whole one never.
    best: the step of the checkpoint to keep whatever its age.
    count_aside: False where no checkpoint was written since: what was put aside is not counted, and no room made of it.
    Returns what was put aside and has been removed for max_bytes.
    """
    clear_leftovers(folder)
    present = checkpoints(folder)
    whole = [step for step, path in present.items() if _has_all_files(path)]
    oldest = whole[-keep] if len(whole) >= keep else 0
    kept = [step for step in present if step >= oldest or step == best]
    for step in sorted(present.keys() - set(kept)):
        _remove(present[step])
    aside = damaged_checkpoints(folder)
    for step in [step for step in aside if whole and step <= whole[-1]]:
        shutil.rmtree(aside.pop(step))
    if max_bytes is None:
        return []
    newest = (whole or list(present))[-1:]
    ranked = sorted(set(kept).difference(newest), key=lambda step: (step in whole, step == best, step))
    counted = list(aside.values()) if count_aside else []
    others = [*counted, *(present[step] for step in ranked)]
    sizes = {path: _size(path) for path in [*others, *(present[step] for step in newest)]}
    while others and sum(sizes.values()) > max_bytes:
        path = others.pop(0)
        _remove(path)
        del sizes[path]
    return [path for path in counted if path not in sizes]


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _fill(folder: Path, fill: Callable[[Path], None]) -> None:
    try:
        fill(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(disk_full(folder.parent)) from error


def disk_full(folder: Path) -> str:
    """What to say when there is no room left for `folder`."""
    return f"the disk of {folder} is full"


def _publish(unfinished: Path, folder: Path) -> None:
    _, replaced = leftovers(folder)
    for path in [*unfinished.rglob("*"), unfinished]:
        _flush(path)
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    unfinished.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Remove what a kill has left of unfinished checkpoints, and give back its name to one that was being replaced."""
    for leftover in list(folder.glob(f"step_*{_UNFINISHED}")):
        shutil.rmtree(leftover)
    for leftover in list(folder.glob(f"step_*{_REPLACED}")):
        original = leftover.with_name(leftover.name.removesuffix(_REPLACED))
        if original.exists():
            shutil.rmtree(leftover)
        else:
            leftover.rename(original)


def _has_all_files(folder: Path) -> bool:
    try:
        check_files(folder, read_manifest(folder), checksums=False)
    except ValueError:
        return False
    return True


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _remove(folder: Path) -> None:
    doomed = folder.with_name(folder.name + _UNFINISHED)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
