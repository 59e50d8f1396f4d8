"""Pictures as SVG, drawn without any library for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from typing import TypeAlias
from xml.etree import ElementTree

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""Okabe and Ito's, told apart by colour-blind readers too."""
DASHES = ("none", "6 3", "2 2")
"""For what is beyond the number of colours."""

Scale: TypeAlias = Callable[[float], float]

_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Drawing:
    """SVG elements, added one after another; texts are escaped as XML when it is written."""

    width: int
    height: int
    title: str
    root: ElementTree.Element = field(init=False)

    def __post_init__(self) -> None:
        size = {"width": str(self.width), "height": str(self.height), "viewBox": f"0 0 {self.width} {self.height}"}
        fonts = {"font-family": "sans-serif", "font-size": "12", "fill": "#222222", "role": "img"}
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg"} | size | fonts)
        self.add("rect", width="100%", height="100%", fill="white")
        self.add("title").text = legible(self.title)

    def add(self, kind: str, **attributes: str | float) -> ElementTree.Element:
        """stroke_width becomes stroke-width; numbers are rounded."""
        texts = {
            name.replace("_", "-"): value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
            for name, value in attributes.items()
        }
        return ElementTree.SubElement(self.root, kind, texts)

    def text(self, x: float, y: float, words: str, **attributes: str | float) -> None:
        self.add("text", x=x, y=y, **attributes).text = legible(words)

    def line(self, x1: float, y1: float, x2: float, y2: float, **attributes: str | float) -> None:
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)

    def written(self) -> str:
        """The picture as a file holds it."""
        ElementTree.indent(self.root)
        return ElementTree.tostring(self.root, encoding="unicode") + "\n"


def legible(words: str) -> str:
    """The words with a replacement character for each that XML, HTML or UTF-8 cannot hold."""
    return _NO_XML.sub("\ufffd", words)


def look(number: int) -> tuple[str, str]:
    """Colour and dashes of the curve of this number, from 0 on."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """low -> start, high -> end, linear."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def points(pairs: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    """The points of a line, as SVG has them."""
    return " ".join(f"{x(first):.2f},{y(second):.2f}" for first, second in pairs)


def marks_between(low: float, high: float, *, wanted: int = 5) -> list[float]:
    """Round numbers from at or below the lowest to at or above the highest, about so many intervals."""
    if high - low <= 1e-6 * abs(high):
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    span = high - low
    power = 10.0 ** floor(log10(span / wanted))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * wanted >= span * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
