"""Checkpoint folders exist whole or not at all, wherever the process dies."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_strategy.checkpoints import (
    checkpoints,
    newest_whole,
    prune_checkpoints,
    put_aside,
    write_checkpoint,
    write_folder,
)
from lightrft_strategy.manifest import MANIFEST

FILES = ("weights", "nested/state")


def content(folder: Path) -> dict[str, str]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def whole(text: str) -> dict[str, str]:
    return dict.fromkeys(sorted(FILES), text)


def fill_with(text: str):
    def fill(folder: Path) -> None:
        for name in FILES:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)

    return fill


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_with_everything_in_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "deep" / "final", fill_with("new"))
    assert content(tmp_path / "deep" / "final") == whole("new")
    assert names(tmp_path / "deep") == ["final"]


def test_an_existing_folder_is_replaced_not_mixed_with(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "stale").write_text("old")
    write_folder(tmp_path / "final", fill_with("new"))
    assert content(tmp_path / "final") == whole("new")
    assert names(tmp_path) == ["final"]


@pytest.mark.parametrize("existing", [False, True])
def test_a_fill_that_raises_leaves_what_was_there_before(tmp_path: Path, existing: bool) -> None:
    if existing:
        write_folder(tmp_path / "final", fill_with("old"))

    def fill(folder: Path) -> None:
        (folder / "weights").write_text("half of it")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_folder(tmp_path / "final", fill)
    assert (tmp_path / "final").exists() == existing
    if existing:
        assert content(tmp_path / "final") == whole("old")
    write_folder(tmp_path / "final", fill_with("new"))
    assert content(tmp_path / "final") == whole("new")
    assert names(tmp_path) == ["final"]


KILLED = """
import os, signal, sys, types
from pathlib import Path

package = sys.modules["lightrft_strategy"] = types.ModuleType("lightrft_strategy")
package.__path__ = [{package!r}]
from lightrft_strategy.checkpoints import {call}
folder, moment = Path(sys.argv[1]), int(sys.argv[2])
DISK = {{"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir", "shutil.rmtree"}}
events = 0

def watch(event, arguments):
    global events
    if event in DISK and str(folder) in str(arguments) or event in ("os.rmdir", "os.remove"):
        events += 1
        if events == moment:
            os.kill(os.getpid(), signal.SIGKILL)

def fill(path):
    (path / "nested").mkdir()
    for name in ("weights", "nested/state"):
        (path / name).write_text("new")

sys.addaudithook(watch)
{statement}
"""


def kill_at(moment: int, folder: Path, call: str, statement: str) -> bool:
    """Whether the process was killed, at its n-th touch of the disk, before it was done."""
    package = str(Path(write_folder.__code__.co_filename).parent)
    script = KILLED.format(call=call, package=package, statement=statement)
    done = subprocess.run([sys.executable, "-S", "-c", script, str(folder), str(moment)])
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


@pytest.mark.parametrize("existing", [False, True])
def test_killed_at_any_touch_of_the_disk_the_old_or_the_new_folder_is_whole(tmp_path: Path, existing: bool) -> None:
    seen, moment, killed = [], 0, True
    while killed:
        moment += 1
        folder = tmp_path / str(moment) / "final"
        if existing:
            write_folder(folder, fill_with("old"))
        else:
            folder.parent.mkdir()
        killed = kill_at(moment, folder, "write_folder", "write_folder(folder, fill)")
        where = folder if folder.exists() else folder.with_name("final.replaced")
        found = content(where) if where.exists() else None
        assert found in (whole("new"), whole("old") if existing else None), f"killed at touch {moment}"
        seen.append((found or {}).get("weights"))
        write_folder(folder, fill_with("again"))
        assert content(folder) == whole("again")
        assert names(folder.parent) == ["final"]
    assert moment > 8
    assert seen == sorted(seen, key=lambda text: text == "new"), "once the new one is there, it stays"
    assert seen[0] == ("old" if existing else None)
    assert seen[-1] == "new"


def test_unfinished_and_foreign_folders_are_no_checkpoints(tmp_path: Path) -> None:
    for name in ("step_9", "step_10", "step_100", "step_11.unfinished", "step_12.replaced", "step_x", "final", "step_"):
        (tmp_path / name).mkdir()
    assert checkpoints(tmp_path) == {step: tmp_path / f"step_{step}" for step in (9, 10, 100)}
    assert list(checkpoints(tmp_path)) == [9, 10, 100]
    assert checkpoints(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(("keep", "left"), [(1, [11]), (2, [10, 11]), (3, [9, 10, 11]), (9, [8, 9, 10, 11])])
def test_only_the_newest_checkpoints_are_kept(tmp_path: Path, keep: int, left: list[int]) -> None:
    for step in (8, 9, 10, 11):
        write_checkpoint(tmp_path, step, fill_with(str(step)), keep=keep)
    assert names(tmp_path) == sorted(f"step_{step}" for step in left)
    for step in left:
        assert content(tmp_path / f"step_{step}") == whole(str(step))


def test_nothing_is_removed_for_a_checkpoint_that_could_not_be_written(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, fill_with("1"), keep=1)

    def fill(folder: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(tmp_path, 2, fill, keep=1)
    assert checkpoints(tmp_path) == {1: tmp_path / "step_1"}
    assert content(tmp_path / "step_1") == whole("1")


def test_killed_while_removing_old_checkpoints_every_one_that_still_has_its_name_is_whole(tmp_path: Path) -> None:
    moment, killed, kept = 0, True, []
    while killed:
        moment += 1
        folder = tmp_path / str(moment)
        for step in (1, 2):
            write_checkpoint(folder, step, fill_with("new"), keep=2)
        killed = kill_at(moment, folder, "write_checkpoint", "write_checkpoint(folder, 3, fill, keep=1)")
        for path in checkpoints(folder).values():
            assert content(path) == whole("new")
        assert newest_whole(folder, checksums=True) == (max(checkpoints(folder).items())[1], [])
        kept.append(list(checkpoints(folder)))
        assert max(kept[-1]) >= 2
    assert kept[0] == [1, 2]
    assert kept[-1] == [3]
    assert [2, 3] in kept


def steps(folder: Path) -> list[int]:
    return list(checkpoints(folder))


def write_all(folder: Path, *steps: int, size: int = 1) -> None:
    for step in steps:
        write_checkpoint(folder, step, fill_with("x" * size), keep=len(steps))


def damage(folder: Path) -> None:
    (folder / "weights").write_text("")


def test_the_best_checkpoint_is_kept_besides_the_newest(tmp_path: Path) -> None:
    write_all(tmp_path, 1, 2, 3, 4, 5)
    prune_checkpoints(tmp_path, keep=2, best=2)
    assert steps(tmp_path) == [2, 4, 5]
    write_checkpoint(tmp_path, 6, fill_with("6"), keep=2, best=5)
    assert steps(tmp_path) == [5, 6]
    write_checkpoint(tmp_path, 7, fill_with("7"), keep=1, best=3)
    assert steps(tmp_path) == [7], "a best step that is long gone is nothing to keep"


KB = 1000


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6),
    st.integers(1, 7),
    st.integers(0, 40),
    st.none() | st.integers(1, 6),
)
def test_checkpoints_within_a_budget_are_the_best_and_the_newest_that_fit(
    tmp_path_factory, sizes: list[int], keep: int, budget: int, best: int | None
) -> None:
    folder = tmp_path_factory.mktemp("sized")
    for step, size in enumerate(sizes, start=1):
        write_checkpoint(folder, step, fill_with("x" * size * KB), keep=9)
    total = {
        step: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for step, path in checkpoints(folder).items()
    }
    prune_checkpoints(folder, keep=keep, max_bytes=budget * KB, best=best)
    wanted = [step for step in total if step > len(sizes) - keep or step == best]
    ranked = sorted(wanted, key=lambda step: (step == len(sizes), step == best, step), reverse=True)
    left, room = [], budget * KB
    for place, step in enumerate(ranked):
        room -= total[step]
        if room < 0 and place > 0:
            break
        left.append(step)
    assert steps(folder) == sorted(left)


def test_a_damaged_checkpoint_never_costs_the_one_before(tmp_path: Path) -> None:
    write_all(tmp_path, 1, 2, 3)
    damage(tmp_path / "step_3")
    prune_checkpoints(tmp_path, keep=1)
    assert steps(tmp_path) == [2, 3]
    prune_checkpoints(tmp_path, keep=1, max_bytes=0)
    assert steps(tmp_path) == [2]
    write_checkpoint(tmp_path, 4, fill_with("4"), keep=1)
    assert steps(tmp_path) == [4]


def test_what_lacks_files_goes_for_want_of_room_before_what_is_whole(tmp_path: Path) -> None:
    write_all(tmp_path, 1, 2, 3, size=KB)
    (tmp_path / "step_2" / "weights").unlink()
    prune_checkpoints(tmp_path, keep=3, max_bytes=5.5 * KB)
    assert steps(tmp_path) == [1, 3]


def test_the_only_checkpoint_is_kept_though_it_is_damaged(tmp_path: Path) -> None:
    write_all(tmp_path, 1)
    damage(tmp_path / "step_1")
    prune_checkpoints(tmp_path, keep=1, max_bytes=0)
    assert steps(tmp_path) == [1]


def test_the_newest_whole_checkpoint_is_found_and_the_others_are_named(tmp_path: Path) -> None:
    write_all(tmp_path, 1, 2, 3, 4, 5)
    assert newest_whole(tmp_path) == (tmp_path / "step_5", [])
    damage(tmp_path / "step_5")
    (tmp_path / "step_4" / "nested" / "state").unlink()
    (tmp_path / "step_3" / MANIFEST).unlink()
    found, faults = newest_whole(tmp_path)
    assert found == tmp_path / "step_2"
    assert [fault.split(";")[0] for fault in faults] == [
        f"{tmp_path}/step_5/weights has 0 bytes and was written with 1",
        f"{tmp_path}/step_4/nested/state is missing",
        f"{tmp_path}/step_3 has no {MANIFEST}: it is no checkpoint, or one that was never finished",
    ]
    (tmp_path / "step_2" / "weights").write_text("y")
    assert newest_whole(tmp_path)[0] == tmp_path / "step_2", "no size has changed"
    found, faults = newest_whole(tmp_path, checksums=True)
    assert found == tmp_path / "step_1"
    assert f"{tmp_path}/step_2/weights is damaged: its checksum does not match" in faults[-1]
    assert newest_whole(tmp_path / "nowhere") == (None, [])


def test_a_checkpoint_put_aside_for_one_that_never_came_is_put_back(tmp_path: Path) -> None:
    write_all(tmp_path, 1, 2)
    (tmp_path / "step_2").rename(tmp_path / "step_2.replaced")
    prune_checkpoints(tmp_path, keep=2)
    assert names(tmp_path) == ["step_1", "step_2"]
    shutil.copytree(tmp_path / "step_2", tmp_path / "step_2.replaced")
    prune_checkpoints(tmp_path, keep=2)
    assert names(tmp_path) == ["step_1", "step_2"]


def test_what_is_put_aside_is_no_checkpoint_and_lies_there_until_the_run_has_passed_it(tmp_path: Path) -> None:
    write_all(tmp_path, 2, 8, 10)
    (tmp_path / "step_10.damaged").mkdir()
    assert put_aside(tmp_path, after=2) == [tmp_path / "step_10.damaged", tmp_path / "step_8.damaged"]
    assert (steps(tmp_path), newest_whole(tmp_path)) == ([2], (tmp_path / "step_2", []))
    write_checkpoint(tmp_path, 8, fill_with("8"), keep=1)
    assert names(tmp_path) == ["step_10.damaged", "step_8"]
    write_checkpoint(tmp_path, 12, fill_with("12"), keep=1)
    assert names(tmp_path) == ["step_12"]


def sized(folder: Path, *, whole: list[int], aside: list[int]) -> list[int]:
    """Checkpoints of these steps, some of them put aside; how much each takes, in the order of their names."""
    write_all(folder, *whole, *aside, size=10 * KB)
    put_aside(folder, after=max(whole))
    return [sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize(
    ("room", "left"),
    [
        (5, ["step_1", "step_2", "step_3", "step_8.damaged", "step_9.damaged"]),
        (4, ["step_1", "step_2", "step_3", "step_9.damaged"]),
        (3, ["step_1", "step_2", "step_3"]),
        (2, ["step_2", "step_3"]),
        (0, ["step_3"]),
    ],
)
def test_what_was_put_aside_counts_in_the_room_and_is_first_to_go_once_a_newer_one_is_written(
    tmp_path: Path, room: int, left: list[str]
) -> None:
    (size, *_) = sized(tmp_path, whole=[1, 2], aside=[8, 9])
    removed = write_checkpoint(tmp_path, 3, fill_with("x" * 10 * KB), keep=3, max_bytes=room * size)
    assert names(tmp_path) == left
    assert removed == [tmp_path / f"step_{step}.damaged" for step in (8, 9) if f"step_{step}.damaged" not in left]


def test_what_was_put_aside_is_no_checkpoint_to_keep(tmp_path: Path) -> None:
    sized(tmp_path, whole=[1, 2], aside=[8, 9])
    assert write_checkpoint(tmp_path, 3, fill_with("3"), keep=2) == []
    assert names(tmp_path) == ["step_2", "step_3", "step_8.damaged", "step_9.damaged"]


@pytest.mark.parametrize(("room", "left"), [(2, ["step_1", "step_2"]), (1, ["step_2"])])
def test_until_one_is_written_what_was_put_aside_neither_counts_nor_goes(
    tmp_path: Path, room: int, left: list[str]
) -> None:
    (size, *_) = sized(tmp_path, whole=[1, 2], aside=[8])
    assert prune_checkpoints(tmp_path, keep=2, max_bytes=room * size, count_aside=False) == []
    assert names(tmp_path) == [*left, "step_8.damaged"]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    write_all(tmp_path, 1)

    def fill(folder: Path) -> None:
        (folder / "weights").write_text("half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ValueError, match=f"the disk of {tmp_path} is full$"):
        write_checkpoint(tmp_path, 2, fill, keep=1)
    assert names(tmp_path) == ["step_1"]
