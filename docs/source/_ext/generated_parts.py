"""Parts of pages that are written while the manual is built.

A line such as `<!-- generated: flags rl -->` in a page is replaced by what the code says at that moment, so that it
cannot be out of date. Whoever reads the page elsewhere sees the sentence before it, which names the command that prints
the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from flag_tables import commands, flags
from public_names import api
from registries import algorithms, entry_points, rules
from sphinx.application import Sphinx

SOURCE = Path(__file__).parents[1]
BENCHMARKS = SOURCE.parent / "benchmarks" / "README.md"
PLACE = re.compile(r"^<!-- generated: (\w+)((?: [\w.-]+)*) -->$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)")


def benchmarks() -> str:
    """docs/benchmarks/README.md, but for its title."""
    return BENCHMARKS.read_text().split("\n", 1)[1]


PARTS: dict[str, Callable[..., str]] = {
    "algorithms": algorithms,
    "api": api,
    "benchmarks": benchmarks,
    "commands": commands,
    "entry_points": entry_points,
    "flags": flags,
    "rules": rules,
}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put every generated part of a page into its place; links to the benchmarks lead to their page in the site."""
    folder = (SOURCE / page).parent
    source[0] = PLACE.sub(lambda place: _relinked(PARTS[place[1]](*place[2].split()), folder), source[0])
    source[0] = LINK.sub(lambda link: _on_the_site(link[1], folder), source[0])


def _relinked(part: str, folder: Path) -> str:
    """Links of the benchmarks' page start in its folder."""
    return LINK.sub(
        lambda link: os.path.relpath(there, folder) if (there := BENCHMARKS.parent / link[1]).exists() else link[1],
        part,
    )


def _on_the_site(link: str, folder: Path) -> str:
    return "/benchmarks.md" if (folder / link).resolve() == BENCHMARKS else link


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
