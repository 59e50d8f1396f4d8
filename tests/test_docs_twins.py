"""The Chinese pages beside the English ones: the same commands, the same code, the same structure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs/source"
BLOCK = re.compile(r"^```(\{?\w*\}?)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAME = re.compile(r"`([^`]+)`")
TABLE = re.compile(r"^\|.*\n\|[-|]+\|(?:\n\|.*)*", re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile("^(#+) ", re.MULTILINE)

ENGLISH_ALONE = ("api_doc/", "benchmarks")
"""What has no Chinese twin: pages that are made from the code, or from what was measured."""

REQUIRED = [
    "README.md",
    *sorted(
        str(path.relative_to(ROOT))
        for path in SOURCE.rglob("*.md")
        if not path.stem.endswith("_zh") and not str(path.relative_to(SOURCE)).startswith(ENGLISH_ALONE)
    ),
]
"""Pages that must have a Chinese twin."""


def chinese(page: str) -> Path:
    return ROOT / page.replace(".md", "_zh.md")


def code(path: Path) -> list[tuple[str, str]]:
    """Code blocks, comments included; what a table of contents lists is not code."""
    return [(kind, text) for kind, text in BLOCK.findall(path.read_text()) if kind != "{toctree}"]


@pytest.mark.parametrize("page", REQUIRED)
def test_the_page_has_a_chinese_twin(page: str) -> None:
    assert re.search("[\u4e00-\u9fff]{4}", chinese(page).read_text())


TWINS = sorted(str(path.relative_to(ROOT)).replace("_zh.md", ".md") for path in SOURCE.rglob("*_zh.md"))


@pytest.mark.parametrize("page", ["README.md", *TWINS])
def test_twins_show_the_same_commands_code_and_structure(page: str) -> None:
    assert code(chinese(page)) == code(ROOT / page)
    headings = [HEADING.findall(path.read_text()) for path in (ROOT / page, chinese(page))]
    assert headings[0] == headings[1]


@pytest.mark.parametrize("page", ["README.md", *TWINS])
def test_twins_lead_to_the_same_places(page: str) -> None:
    english, translated = (LINK.findall(path.read_text()) for path in (ROOT / page, chinese(page)))
    assert sorted({place(link) for link in translated}) == sorted({place(link) for link in english})


@pytest.mark.parametrize("page", ["README.md", *TWINS])
def test_twins_name_the_same_flags_files_and_values(page: str) -> None:
    """What stands in code type between the words of a page is not translated."""
    english, translated = (BLOCK.sub("", path.read_text()) for path in (ROOT / page, chinese(page)))
    assert names(translated) == names(english)
    tables = [
        [[names(row) for row in table.splitlines()] for table in TABLE.findall(text)] for text in (english, translated)
    ]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("page", ["README.md", *TWINS])
def test_a_chinese_page_leads_to_chinese_pages_where_there_are_any(page: str) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(chinese(page).read_text()) if "://" not in link]
    english = [link for link in links if link.endswith(".md") and not link.endswith("_zh.md")]
    found = {link for link in english if chinese(str((ROOT / page).parent / link)).exists()}
    assert found == ({"README.md"} if page == "README.md" else set())


def names(text: str) -> list[str]:
    return sorted({" ".join(name.split()) for name in NAME.findall(text)})


def place(link: str) -> str:
    """A link's page in either language; sections are named after headings, which are translated."""
    return link if "://" in link else link.partition("#")[0].replace("_zh.md", ".md")


def test_no_page_is_a_twin_of_nothing() -> None:
    assert [page for page in TWINS if not (ROOT / page).exists()] == []
