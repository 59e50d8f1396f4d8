"""A comparison as one SVG: rewards by step on the left, held-out accuracy on the right, a colour an algorithm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""Okabe and Ito's, told apart by colour-blind readers too."""
DASHES = ("none", "6 3", "2 2")
"""For algorithms beyond the number of colours."""

WIDTH, TOP, BOTTOM = 920, 58, 52
LEFT, CURVES_END = 62, 540
NAMES, SHARES, SHARES_END = 568, 742, 890
ROW = 26

Scale = Callable[[float], float]


@dataclass
class Drawing:
    """SVG elements, added one after another; texts are escaped as XML when it is written."""

    height: int
    root: ElementTree.Element = field(init=False)

    def __post_init__(self) -> None:
        size = {"width": str(WIDTH), "height": str(self.height), "viewBox": f"0 0 {WIDTH} {self.height}"}
        fonts = {"font-family": "sans-serif", "font-size": "12", "fill": "#222222", "role": "img"}
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg"} | size | fonts)
        self.add("rect", width="100%", height="100%", fill="white")

    def add(self, kind: str, **attributes: str | float) -> ElementTree.Element:
        """stroke_width becomes stroke-width; numbers are rounded."""
        texts = {
            name.replace("_", "-"): value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
            for name, value in attributes.items()
        }
        return ElementTree.SubElement(self.root, kind, texts)

    def text(self, x: float, y: float, words: str, **attributes: str | float) -> None:
        self.add("text", x=x, y=y, **attributes).text = words

    def line(self, x1: float, y1: float, x2: float, y2: float, **attributes: str | float) -> None:
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def picture(found: Mapping[str, Any]) -> str:
    """compare.svg: a line an algorithm with the band of its seeds, and its accuracy after with the 95% interval."""
    algorithms = found["by_algorithm"]
    drawing = Drawing(max(340, TOP + BOTTOM + 30 + ROW * len(algorithms)))
    title = f"{len(algorithms)} algorithms on {found['task']}, {Path(found['config']['pretrain']).name}"
    ElementTree.SubElement(drawing.root, "title").text = title
    drawing.text(LEFT, 22, title, font_size=14, font_weight="bold")
    drawing.text(
        LEFT, 44, f"reward by step, without overlong penalties: mean and range over {len(found['seeds'])} seeds"
    )
    _curves(drawing, algorithms)
    _shares(drawing, algorithms)
    if found["missing"]:
        runs = ", ".join(f"{run['algorithm']} seed {run['seed']}" for run in found["missing"])
        drawing.text(LEFT, drawing.height - 6, f"missing: {runs}", font_size=11, fill="#b00000")
    ElementTree.indent(drawing.root)
    return ElementTree.tostring(drawing.root, encoding="unicode") + "\n"


def _curves(drawing: Drawing, algorithms: Sequence[Mapping[str, Any]]) -> None:
    rewards = [algorithm["task_rewards"] for algorithm in algorithms]
    known = [value for curve in rewards for part in curve.values() for value in part if value is not None]
    steps = max((len(curve["mean"]) for curve in rewards), default=0)
    if not known:
        drawing.text(LEFT, TOP + 30, "no run is complete", fill="#777777")
        return
    floor_y = drawing.height - BOTTOM
    marks = _marks(min(known), max(known))
    x = _scale(1, max(steps, 2), LEFT, CURVES_END)
    y = _scale(marks[0], marks[-1], floor_y, TOP)
    for mark in marks:
        drawing.line(LEFT, y(mark), CURVES_END, y(mark), stroke="#dddddd")
        drawing.text(LEFT - 8, y(mark) + 4, f"{mark:g}", text_anchor="end")
    for mark in sorted({max(1, round(mark)) for mark in _marks(1, max(steps, 2)) if mark <= max(steps, 2)}):
        drawing.text(x(mark), floor_y + 18, str(mark), text_anchor="middle")
    drawing.text((LEFT + CURVES_END) / 2, floor_y + 36, "step", text_anchor="middle")
    for number, curve in enumerate(rewards):
        there = [step for step, value in enumerate(curve["mean"], start=1) if value is not None]
        edge = [(step, curve["highest"][step - 1]) for step in there]
        edge += [(step, curve["lowest"][step - 1]) for step in reversed(there)]
        colour, dash = _look(number)
        drawing.add("polygon", points=_points(edge, x, y), fill=colour, fill_opacity="0.15")
        mean = _points([(step, curve["mean"][step - 1]) for step in there], x, y)
        drawing.add("polyline", points=mean, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dash)
        if len(there) == 1:
            drawing.add("circle", cx=x(there[0]), cy=y(curve["mean"][there[0] - 1]), r=3, fill=colour)


def _shares(drawing: Drawing, algorithms: Sequence[Mapping[str, Any]]) -> None:
    estimates = [(algorithm["accuracy_before"], algorithm["accuracy_after"]) for algorithm in algorithms]
    known = [edge for pair in estimates for estimate in pair if estimate for edge in estimate["interval"]]
    floor_y = TOP + 14 + ROW * len(algorithms)
    marks = _marks(min(known), max(known), wanted=3) if known else [0.0, 1.0]
    x = _scale(marks[0], marks[-1], SHARES, SHARES_END)
    if known:
        drawing.text(NAMES, 44, "held-out accuracy: after (95% interval), before (hollow)")
        for mark in marks:
            drawing.line(x(mark), TOP, x(mark), floor_y, stroke="#dddddd")
            drawing.text(x(mark), floor_y + 18, f"{mark * 100:g}%", text_anchor="middle")
    for number, (algorithm, (before, after)) in enumerate(zip(algorithms, estimates, strict=True)):
        y = TOP + 20 + ROW * number
        colour, dash = _look(number)
        drawing.line(NAMES, y, NAMES + 22, y, stroke=colour, stroke_width=2, stroke_dasharray=dash)
        drawing.text(NAMES + 28, y + 4, algorithm["algorithm"])
        if before:
            drawing.add("circle", cx=x(before["value"]), cy=y, r=4, fill="none", stroke=colour)
        if after:
            low, high = map(x, after["interval"])
            drawing.line(low, y, high, y, stroke=colour, stroke_width=2)
            for end in (low, high):
                drawing.line(end, y - 4, end, y + 4, stroke=colour, stroke_width=2)
            drawing.add("circle", cx=x(after["value"]), cy=y, r=4, fill=colour)


def _look(number: int) -> tuple[str, str]:
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _points(pairs: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    return " ".join(f"{x(step):.2f},{y(value):.2f}" for step, value in pairs)


def _marks(low: float, high: float, *, wanted: int = 5) -> list[float]:
    """Round numbers from at or below the lowest to at or above the highest, about so many intervals."""
    if high - low <= 1e-6 * abs(high):
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    span = high - low
    power = 10.0 ** floor(log10(span / wanted))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * wanted >= span * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
