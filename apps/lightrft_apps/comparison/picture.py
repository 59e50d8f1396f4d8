"""A comparison as one SVG: rewards by step on the left, held-out accuracy on the right, a colour an algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightrft_apps.drawing.svg import Drawing, look, marks_between, points, scale

WIDTH, TOP, BOTTOM = 920, 58, 52
LEFT, CURVES_END = 62, 540
NAMES, SHARES, SHARES_END = 568, 742, 890
ROW = 26


def picture(found: Mapping[str, Any]) -> str:
    """compare.svg: a line an algorithm with the band of its seeds, and its accuracy after with the 95% interval."""
    algorithms = found["by_algorithm"]
    title = f"{len(algorithms)} algorithms on {found['task']}, {Path(found['config']['pretrain']).name}"
    drawing = Drawing(WIDTH, max(340, TOP + BOTTOM + 30 + ROW * len(algorithms)), title)
    drawing.text(LEFT, 22, title, font_size=14, font_weight="bold")
    drawing.text(
        LEFT, 44, f"reward by step, without overlong penalties: mean and range over {len(found['seeds'])} seeds"
    )
    _curves(drawing, algorithms)
    _shares(drawing, algorithms)
    if found["missing"]:
        runs = ", ".join(f"{run['algorithm']} seed {run['seed']}" for run in found["missing"])
        drawing.text(LEFT, drawing.height - 6, f"missing: {runs}", font_size=11, fill="#b00000")
    return drawing.written()


def _curves(drawing: Drawing, algorithms: Sequence[Mapping[str, Any]]) -> None:
    rewards = [algorithm["task_rewards"] for algorithm in algorithms]
    known = [value for curve in rewards for part in curve.values() for value in part if value is not None]
    steps = max((len(curve["mean"]) for curve in rewards), default=0)
    if not known:
        drawing.text(LEFT, TOP + 30, "no run is complete", fill="#777777")
        return
    floor_y = drawing.height - BOTTOM
    marks = marks_between(min(known), max(known))
    x = scale(1, max(steps, 2), LEFT, CURVES_END)
    y = scale(marks[0], marks[-1], floor_y, TOP)
    for mark in marks:
        drawing.line(LEFT, y(mark), CURVES_END, y(mark), stroke="#dddddd")
        drawing.text(LEFT - 8, y(mark) + 4, f"{mark:g}", text_anchor="end")
    for mark in sorted({max(1, round(mark)) for mark in marks_between(1, max(steps, 2)) if mark <= max(steps, 2)}):
        drawing.text(x(mark), floor_y + 18, str(mark), text_anchor="middle")
    drawing.text((LEFT + CURVES_END) / 2, floor_y + 36, "step", text_anchor="middle")
    for number, curve in enumerate(rewards):
        there = [step for step, value in enumerate(curve["mean"], start=1) if value is not None]
        edge = [(step, curve["highest"][step - 1]) for step in there]
        edge += [(step, curve["lowest"][step - 1]) for step in reversed(there)]
        colour, dash = look(number)
        drawing.add("polygon", points=points(edge, x, y), fill=colour, fill_opacity="0.15")
        mean = points([(step, curve["mean"][step - 1]) for step in there], x, y)
        drawing.add("polyline", points=mean, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dash)
        if len(there) == 1:
            drawing.add("circle", cx=x(there[0]), cy=y(curve["mean"][there[0] - 1]), r=3, fill=colour)


def _shares(drawing: Drawing, algorithms: Sequence[Mapping[str, Any]]) -> None:
    estimates = [(algorithm["accuracy_before"], algorithm["accuracy_after"]) for algorithm in algorithms]
    known = [edge for pair in estimates for estimate in pair if estimate for edge in estimate["interval"]]
    floor_y = TOP + 14 + ROW * len(algorithms)
    marks = marks_between(min(known), max(known), wanted=3) if known else [0.0, 1.0]
    x = scale(marks[0], marks[-1], SHARES, SHARES_END)
    if known:
        drawing.text(NAMES, 44, "held-out accuracy: after (95% interval), before (hollow)")
        for mark in marks:
            drawing.line(x(mark), TOP, x(mark), floor_y, stroke="#dddddd")
            drawing.text(x(mark), floor_y + 18, f"{mark * 100:g}%", text_anchor="middle")
    for number, (algorithm, (before, after)) in enumerate(zip(algorithms, estimates, strict=True)):
        y = TOP + 20 + ROW * number
        colour, dash = look(number)
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
