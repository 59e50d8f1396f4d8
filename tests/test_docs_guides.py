"""The how-to guides: their files are written, their packages installed, and their code run, block after block."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs/source/best_practice").glob("howto_*[a-z].md"))
GUIDES = [guide for guide in GUIDES if not guide.stem.endswith("_zh")]
BLOCK = re.compile(r"^```(python|toml)\n(?:# file: (\S+)\n)?(.*?)^```", re.DOTALL | re.MULTILINE)


def install(project: str, folder: Path) -> None:
    """What installing a package of this pyproject.toml, beside its modules, would leave."""
    about = tomllib.loads(project)["project"]
    info = folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    groups = about["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {at}\n" for name, at in found.items()) for group, found in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, on the path of this process and of those it starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_the_code_of_a_guide_does_what_it_says(guide: Path, elsewhere: Path, trained: Callable[[], list[str]]) -> None:
    blocks = BLOCK.findall(guide.read_text())
    files = {name for _, name, _ in blocks if name}
    names: dict[str, object] = {"__name__": "guide"}
    ran = 0
    for _, name, code in blocks:
        if name == "pyproject.toml":
            install(code, elsewhere)
        elif name:
            (elsewhere / name).write_text(code)
        else:
            exec(compile(code, str(guide), "exec", dont_inherit=True), names)
            ran += 1
    for name in files:
        sys.modules.pop(name.removesuffix(".py"), None)
    assert ran and all("file:" not in code for _, name, code in blocks if not name)
    assert trained() == []


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Guides that train do not: their configuration is checked whole. trained() -> what is wrong with them."""
    import lightrft_apps
    from lightrft_apps.config import RLConfig, check
    from lightrft_core import ADVANTAGE_ESTIMATORS, ALGORITHMS

    problems: list[str] = []

    def checked(config: RLConfig) -> None:
        problems.extend(check(config))

    monkeypatch.setattr(lightrft_apps, "train", checked)
    tables: list[dict[str, object]] = [ALGORITHMS, ADVANTAGE_ESTIMATORS]
    before = [dict(table) for table in tables]
    yield lambda: problems
    for table, rows in zip(tables, before, strict=True):
        table.clear()
        table.update(rows)


def test_every_guide_of_the_list_is_there() -> None:
    named = {f"howto_{what}" for what in ("reward", "dataset", "algorithm", "modality", "engine")}
    assert {guide.stem for guide in GUIDES} == named
