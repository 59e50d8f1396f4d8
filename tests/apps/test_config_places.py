"""--output: a place that is new, and that nothing of the person's is removed for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightrft_apps.config.checks.places import new_folder, used_folder
from lightrft_strategy.checkpoints import write_folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which commands run."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def fill(folder: Path) -> None:
    (folder / "file").write_text("whole")


@pytest.mark.parametrize("output", ["new", "./new/", "deep/er/new", "empty", "../beside", "empty/../new"])
def test_a_new_or_empty_folder_is_written_by_its_full_name(here: Path, output: str) -> None:
    (here / "empty").mkdir()
    assert list(used_folder(output)) == []
    write_folder(new_folder(output), fill)
    assert (here / output / "file").read_text() == "whole"


def test_a_link_to_an_empty_folder_stays_one(here: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (here / "link").symlink_to(tmp_path / "elsewhere")
    assert list(used_folder("link")) == []
    write_folder(new_folder("link"), fill)
    assert (tmp_path / "elsewhere" / "file").is_file() and (here / "link").is_symlink()


@pytest.mark.parametrize("output", [".", "..", "./", "/", "../here"])
def test_where_the_command_runs_is_no_folder_to_write(output: str) -> None:
    (problem,) = used_folder(output)
    assert problem.startswith(f"--output {output}: this command runs in there")


def test_a_file_among_the_parents_is_named(here: Path) -> None:
    (here / "file").write_text("kept")
    (problem,) = used_folder("file/deep/new")
    assert problem.startswith(f"--output file/deep/new: {here / 'file'} is a file")
    (problem,) = used_folder("file")
    assert "something is there already" in problem


@pytest.mark.parametrize("ending", ["unfinished", "replaced"])
def test_what_would_be_removed_on_the_way_is_named(here: Path, ending: str) -> None:
    beside = here / f"new.{ending}"
    beside.mkdir()
    assert list(used_folder("new")) == []
    (beside / "thesis.tex").write_text("kept")
    (problem,) = used_folder("new")
    assert problem.startswith(f"--output new: {beside} is there") and "remove it" in problem
