"""Geometry3K (Lu et al. 2021, arXiv 2105.04165) as hiyouga/geometry3k publishes it: images, problem, answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_strategy.data.formats.fields import field_of, text_of


def geometry3k(content: Mapping[str, Any]) -> dict[str, Any]:
    """The problem with its figure, which goes where the text says <image>; the label is the answer in LaTeX.

    Raises RowError for a row of another form.
    """
    _, images = field_of(content, "images", "image")
    problem, answer = text_of(content, "problem"), text_of(content, "answer")
    return {"input": problem, "images": images, "label": answer, "route": "geo3k"}
