"""The manual as a site: it builds without a warning, every page is found, and each language has what it should."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs/source"
PAGES = sorted(str(path.relative_to(SOURCE).with_suffix("")) for path in SOURCE.rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manual, built as `make docs` builds it."""
    (recipe,) = re.findall(
        r"^\tuv run sphinx-build (.*) docs/source docs/build$", (ROOT / "Makefile").read_text(), re.M
    )
    assert recipe.split() == ["-W", "-n", "--keep-going"]
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", *recipe.split(), str(SOURCE), str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert built.returncode == 0, built.stderr
    return folder


class Anchors(HTMLParser):
    """Where a page leads, what can be led to in it, and where its images are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.language = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places.update(given[name] for name in ("id", "name") if name in given)
        if tag == "html":
            self.language = given.get("lang", "")
        if tag in ("a", "img", "script", "link"):
            self.links += [given[name] for name in ("href", "src") if name in given]


@pytest.fixture(scope="module")
def read(site: Path) -> dict[Path, Anchors]:
    return {path: Anchors(path.read_text()) for path in site.rglob("*.html")}


def inward(page: Path, read: dict[Path, Anchors]) -> Iterator[tuple[Path, str]]:
    for link in read[page].links:
        file, _, place = link.partition("#")
        if not re.match(r"\w+:", link):
            yield (page.parent / unquote(file.partition("?")[0])).resolve() if file else page, unquote(place)


@pytest.mark.proof
def test_every_link_of_the_site_leads_to_a_file_and_a_place_in_it(read: dict[Path, Anchors]) -> None:
    broken = [
        (page.name, file.name, place)
        for page in read
        for file, place in inward(page, read)
        if not file.exists() or (place and place not in read[file].places)
    ]
    assert broken == []


def test_every_page_is_reached_from_the_first_by_its_tables_of_contents() -> None:
    table = re.compile(r"^```{toctree}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    reached, waiting = set(), ["index"]
    while waiting:
        page = waiting.pop()
        assert page not in reached, f"{page} stands in two tables of contents"
        reached.add(page)
        entries = [line for block in table.findall((SOURCE / f"{page}.md").read_text()) for line in block.splitlines()]
        folder = Path(page).parent
        waiting += [str(folder / entry) for entry in entries if entry and not entry.startswith(":")]
    assert sorted(reached) == PAGES


@pytest.mark.proof
@pytest.mark.parametrize("page", PAGES)
def test_every_page_leads_to_its_twin_in_the_other_language(page: str, site: Path, read: dict[Path, Anchors]) -> None:
    chinese = page.endswith("_zh")
    twin = page.removesuffix("_zh") if chinese else f"{page}_zh"
    expected = twin if twin in PAGES else "index" if chinese else "index_zh"
    (switch,) = re.findall(r'<p class="twin"><a href="([^"]+)"', (site / f"{page}.html").read_text())
    target = site / f"{page}.html" if switch == "#" else (site / page).parent / switch
    assert target.resolve() == (site / f"{expected}.html").resolve()
    assert read[site / f"{page}.html"].language == ("zh-CN" if chinese else "en")


@pytest.mark.parametrize(
    "page",
    ["installation/index", "quick_start/algorithms", "quick_start/configuration"]
    + [f"best_practice/{name}" for name in ("strategy", "faq", "troubleshooting", "contributing")],
)
def test_pages_are_where_users_of_the_first_lightrft_look_for_them(page: str) -> None:
    assert page in PAGES


@pytest.mark.proof
def test_the_site_shows_what_was_measured(site: Path) -> None:
    page = (site / "benchmarks.html").read_text()
    assert all((site / f"{name}.html").is_file() for name in PAGES)
    assert "Six algorithms on one task" in page and 'src="_images/quickstart.svg"' in page
    assert 'href="../benchmarks.html"' in (site / "quick_start/first_run.html").read_text()
