"""The laws of the house, read off the sources: who may import whom, how large a file may be, what no file may hold."""

from __future__ import annotations

import ast
import importlib
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STANDARD_LIBRARY = frozenset(sys.stdlib_module_names)

PACKAGES = {
    "lightrft_core": ROOT / "packages/lightrft-core",
    "lightrft_strategy": ROOT / "packages/lightrft-strategy",
    "lightrft_multimodal": ROOT / "packages/lightrft-multimodal",
    "lightrft_rewards": ROOT / "packages/lightrft-rewards",
    "lightrft_apps": ROOT / "apps",
}
"""Import name -> project folder."""

SIBLINGS = {
    "lightrft_core": set(),
    "lightrft_strategy": {"lightrft_core"},
    "lightrft_multimodal": {"lightrft_core", "lightrft_strategy"},
    "lightrft_rewards": set(),
    "lightrft_apps": set(PACKAGES) - {"lightrft_apps"},
}
"""Which of the other packages each may import: core <- strategy <- multimodal <- apps; the reward kit on nobody."""

_BELOW = {"lightrft_core", "lightrft_strategy", "lightrft_multimodal"}
ADAPTERS = {
    "lightrft_rewards/judge.py": {"lightrft_core"},
    "lightrft_rewards/majority.py": {"lightrft_core"},
    "lightrft_rewards/models/": _BELOW | {"torch", "transformers", "safetensors", "numpy"},
    "lightrft_rewards/preferences/": _BELOW | {"pyarrow"},
    "lightrft_rewards/service/": {"fastapi", "starlette", "uvicorn"},
    "lightrft_rewards/service/media.py": {"lightrft_multimodal"},
}
"""Files and rooms that may import more than their package: the door between the reward kit and the training loop, and
what the extras `models` and `service` bring."""

THIRD_PARTIES = {
    "lightrft_core": {"torch", "numpy"},
    "lightrft_rewards": {"httpx", "jsonschema", "math_verify", "reasoning_gym"},
}
"""For packages that must stay light: all that they may import besides the standard library."""

APPS = PACKAGES["lightrft_apps"] / "lightrft_apps"
BESIDE_THE_ROOMS = {"__init__.py", "__main__.py", "failures.py", "main.py", "py.typed"}

MOST_LINES = 600
MOST_SOURCE_LINES = 400
MEDIAN_LINES = 150
LONG_ON_PURPOSE: dict[str, str] = {}
"""Sources over MOST_SOURCE_LINES -> why they are one concept all the same."""

VAGUE_ROOM = re.compile(r"(utils?|helpers?|misc|common)\.py|.*_(vl|al)\.py")
LEFTOVER = re.compile(r"\b(TODO|FIXME|NotImplementedError)\b")
MACHINE_PATH = re.compile("/(" + "|".join(("work", "root", "tmp")) + ")/")


def sources(package: str) -> list[Path]:
    return sorted((PACKAGES[package] / package).rglob("*.py"))


def files_of_the_repository() -> list[Path]:
    """Tracked files, and those that would be with the next commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """(line, top-level module) of every import, wherever in the file it stands; relative ones are of the package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, package if node.level else str(node.module).partition(".")[0]


def may_import(package: str, file: str, module: str) -> bool:
    more = {name for room, names in ADAPTERS.items() if file.startswith(room) for name in names}
    if module in PACKAGES:
        return module in {package} | SIBLINGS[package] | more
    return package not in THIRD_PARTIES or module in STANDARD_LIBRARY | THIRD_PARTIES[package] | more


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    offences = [
        f"{shown(path)}:{line} imports {module}"
        for path in sources(package)
        for line, module in imports(path.read_text(), package)
        if not may_import(package, str(path.relative_to(PACKAGES[package])), module)
    ]
    assert offences == []


def test_the_law_sees_imports_wherever_they_stand() -> None:
    source = """if True:
        import torch, os.path as path
        from . import sibling
        if TYPE_CHECKING:
            from transformers.cache_utils import Cache
        def late():
            import datasets as rows
    """
    assert [module for _, module in imports(source, "lightrft_core")] == [
        "torch",
        "os",
        "lightrft_core",
        "transformers",
        "datasets",
    ]
    judged = {module: may_import("lightrft_core", "x.py", module) for _, module in imports(source, "lightrft_core")}
    assert judged == {"torch": True, "os": True, "lightrft_core": True, "transformers": False, "datasets": False}


def modules_imported(source: str) -> Iterator[str]:
    """Dotted names, wherever in the file they are imported; of `from a import b` both a and a.b, which may be one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))


def circle(imports: Iterable[tuple[str, str]]) -> list[str]:
    """Names that import each other in a circle, of pairs (who, whom); [] if there is none."""
    sorter = TopologicalSorter[str]()
    for who, whom in imports:
        sorter.add(who, *({whom} - {who}))
    try:
        sorter.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_apps_are_rooms_and_import_each_other_in_no_circle() -> None:
    entries = {path.name for path in APPS.iterdir() if path.is_file() or (path / "__init__.py").is_file()}
    rooms = {name for name in entries if (APPS / name).is_dir()}
    assert entries - rooms == BESIDE_THE_ROOMS
    listed = re.findall(r"^\| `(\w+)/` \|", (APPS.parent / "README.md").read_text(), flags=re.MULTILINE)
    assert listed == sorted(rooms), "apps/README.md says what is in each room"
    names = {path: ".".join(path.relative_to(APPS.parent).with_suffix("").parts) for path in sources("lightrft_apps")}
    modules = {name.removesuffix(".__init__") for name in names.values()}
    pairs = [
        (name.removesuffix(".__init__"), module)
        for path, name in names.items()
        for module in modules_imported(path.read_text())
        if module in modules
    ]
    among_rooms = [(who.split(".")[1], whom.split(".")[1]) for who, whom in pairs if "." in who and "." in whom]
    assert circle(pair for pair in among_rooms if rooms.issuperset(pair)) == []
    assert circle(pair for pair in pairs if pair[1] != "lightrft_apps") == []


def test_the_law_sees_circles() -> None:
    source = "import a.b\ndef late():\n    from a import c as d\n"
    assert list(modules_imported(source)) == ["a.b", "a", "a.c"]
    assert circle([("x", "y"), ("y", "z"), ("x", "x")]) == []
    assert set(circle([("x", "y"), ("y", "z"), ("z", "x"), ("w", "x")])) == {"x", "y", "z"}


def test_importing_core_is_quick_and_loads_nothing_of_others() -> None:
    program = """if True:
        import os, sys, time, torch
        for _ in range(3):
            if not (child := os.fork()):
                start = time.process_time()
                import lightrft_core
                print(time.process_time() - start, *sorted({name.partition(".")[0] for name in sys.modules}))
                sys.exit()
            assert os.waitpid(child, 0)[1] == 0
    """
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    imports = [line.split() for line in printed.splitlines()]
    assert len(imports) == 3
    for _, *modules in imports:
        forbidden = {"transformers", "datasets", "vllm", "deepspeed", *PACKAGES} - {"lightrft_core"}
        assert forbidden.isdisjoint(modules)
    assert statistics.median(float(took) for took, *_ in imports) < 1.5, "processor seconds beyond `import torch`"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_source_is_hidden_from_git(package: str) -> None:
    assert set(sources(package)) - set(files_of_the_repository()) == set()


def test_no_file_holds_two_concepts() -> None:
    everything = [path for path in files_of_the_repository() if path.suffix == ".py"]
    ours = [path for package in PACKAGES for path in sources(package)]
    length = {shown(path): len(path.read_text().splitlines()) for path in everything + ours}
    assert {name: lines for name, lines in length.items() if lines > MOST_LINES} == {}
    long = {shown(path) for path in ours if length[shown(path)] > MOST_SOURCE_LINES}
    assert long == LONG_ON_PURPOSE.keys()
    assert statistics.median(length[shown(path)] for path in ours) <= MEDIAN_LINES


def test_the_loop_fits_on_a_screen() -> None:
    assert len((PACKAGES["lightrft_core"] / "lightrft_core/trainer.py").read_text().splitlines()) <= 120


def test_only_one_module_knows_the_names_of_accelerators() -> None:
    offences = [
        f"{shown(path)}:{number}"
        for package in PACKAGES
        for path in sources(package)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"\bcuda\b", line.lower())
        and path != PACKAGES["lightrft_strategy"] / "lightrft_strategy/devices.py"
    ]
    assert offences == []


def test_every_file_is_named_for_what_it_holds() -> None:
    ours = [path for package in PACKAGES for path in sources(package)]
    assert [shown(path) for path in ours if VAGUE_ROOM.fullmatch(path.name)] == []


def test_nothing_is_left_for_later() -> None:
    offences = [
        f"{shown(path)}:{number}: {line.strip()}"
        for package in PACKAGES
        for path in sources(package)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if LEFTOVER.search(line)
    ]
    assert offences == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_can_be_published(package: str) -> None:
    folder = PACKAGES[package]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == package.replace("_", "-")
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert (folder / package / "py.typed").is_file()
    readme = (folder / project["readme"]).read_text()
    assert readme.startswith(f"# {project['name']}\n")
    assert len(readme.split()) > 50, "a README says what the package is for"
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_no_path_of_a_machine_is_in_the_repository() -> None:
    offences = []
    for path in files_of_the_repository():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        lines = enumerate(text.splitlines(), start=1)
        offences += [f"{shown(path)}:{number}" for number, line in lines if MACHINE_PATH.search(line)]
    assert offences == []


def test_the_lock_names_the_public_index_and_the_workspace_alone() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    members = {shown(folder) for folder in PACKAGES.values()} | {"."}
    strange = [
        f"{package['name']} from {package['source']}"
        for package in lock["package"]
        if package["source"] != {"registry": "https://pypi.org/simple"}
        and not ({"editable", "virtual"} & package["source"].keys() and set(package["source"].values()) <= members)
    ]
    assert strange == []
    files = [
        file["url"]
        for package in lock["package"]
        if "registry" in package["source"]
        for file in [*package.get("wheels", []), package.get("sdist", {})]
        if file
    ]
    assert [url for url in files if not url.startswith("https://files.pythonhosted.org/")] == []
    assert not {"find-links", "no-index"} & lock.get("options", {}).keys()
