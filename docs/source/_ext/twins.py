"""Every page says where it stands in the other language: NAME and NAME_zh are twins."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

ENDING = "_zh"


def twin_of(page: str, pages: set[str]) -> str:
    """The page in the other language; the first page of that language where there is no such page."""
    other = page.removesuffix(ENDING) if page.endswith(ENDING) else page + ENDING
    return other if other in pages else "index" if page.endswith(ENDING) else "index" + ENDING


def tell(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Give the template `twin`, the page in the other language; and a Chinese page's language to its <html>."""
    if doctree is not None:
        context["twin"] = twin_of(page, set(app.env.found_docs))
    if page.endswith(ENDING):
        context["language"] = "zh-CN"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", tell)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
