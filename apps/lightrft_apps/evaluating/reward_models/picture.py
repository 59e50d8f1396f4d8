"""An evaluation of reward models as pictures: accuracy by model, label and source; calibration; margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightrft_apps.drawing.svg import COLOURS, Drawing, legible, look, marks_between, points, scale
from lightrft_apps.evaluating.reward_models.rows import ALL, Row, rows_of

WIDTH, TOP, ROW = 940, 62, 24
NAMES, SHARES, SHARES_END = 16, 330, 560
CURVES, CURVES_END, CURVES_HEIGHT = 640, 910, 270
NAME = 44
"""Characters of a name that fit beside its interval."""
SMALL_WIDTH, SMALL_HEIGHT = 420, 250


def picture(found: Mapping[str, Any]) -> str:
    """eval.svg: accuracy with its 95% interval on the left, how often a model is right when how sure on the right."""
    rows = list(rows_of(found))
    drawing = Drawing(
        WIDTH, max(TOP + 40 + ROW * len(rows), TOP + CURVES_HEIGHT + 60), "Agreement of reward models with people"
    )
    drawing.text(NAMES, 24, drawing.title, font_size=14, font_weight="bold")
    _accuracies(drawing, rows)
    drawing.text(CURVES, 46, "calibration: how often right, by how sure")
    wholes = [row for row in rows if row.source == ALL]
    _reliability(drawing, wholes, left=CURVES, right=CURVES_END, top=TOP, bottom=TOP + CURVES_HEIGHT)
    return drawing.written()


def reliability_picture(row: Row) -> str:
    """The calibration of one row: a bar a bin for its weight, and its accuracy over its confidence."""
    drawing = Drawing(SMALL_WIDTH, SMALL_HEIGHT, "How often it is right, by how sure it is")
    drawing.text(46, 18, drawing.title, font_weight="bold")
    x, y = scale(0.5, 1, 46, SMALL_WIDTH - 16), scale(0, 1, SMALL_HEIGHT - 40, 30)
    for bar in row.measures["calibration"]["bins"]:
        height = y(0) - y(bar["weight"])
        width = x(bar["high"]) - x(bar["low"]) - 1
        drawing.add("rect", x=x(bar["low"]), y=y(bar["weight"]), width=width, height=height, fill="#dddddd")
    _reliability(drawing, [row], left=46, right=SMALL_WIDTH - 16, top=30, bottom=SMALL_HEIGHT - 40)
    return drawing.written()


def margins_picture(row: Row) -> str:
    """The margins of one row: those below 0 are wrong."""
    drawing = Drawing(SMALL_WIDTH, SMALL_HEIGHT, "Margins: score of the better answer less the worse one's")
    drawing.text(46, 18, drawing.title, font_weight="bold")
    spread = row.measures["margins"]
    edges, counts = spread["edges"], spread["counts"]
    x = scale(edges[0], edges[-1], 46, SMALL_WIDTH - 16)
    marks = marks_between(0, max(counts), wanted=4)
    y = scale(0, marks[-1], SMALL_HEIGHT - 40, 30)
    for mark in marks:
        drawing.line(46, y(mark), SMALL_WIDTH - 16, y(mark), stroke="#e4e4e4")
        drawing.text(40, y(mark) + 4, f"{mark:g}", text_anchor="end")
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        fill = COLOURS[1] if high <= 0 else COLOURS[0] if low >= 0 else "#777777"
        drawing.add("rect", x=x(low), y=y(count), width=x(high) - x(low) - 0.5, height=y(0) - y(count), fill=fill)
    for mark in marks_between(edges[0], edges[-1]):
        if edges[0] <= mark <= edges[-1]:
            drawing.text(x(mark), SMALL_HEIGHT - 22, f"{mark:g}", text_anchor="middle")
    return drawing.written()


def _accuracies(drawing: Drawing, rows: Sequence[Row]) -> None:
    known = [edge for row in rows if row.accuracy for edge in row.accuracy["interval"]]
    marks = marks_between(min([*known, 0.5]), max([*known, 0.5]), wanted=4)
    x, floor_y = scale(marks[0], marks[-1], SHARES, SHARES_END), TOP + 8 + ROW * len(rows)
    drawing.text(NAMES, 46, "accuracy with its 95% interval; the dashed line is chance")
    for mark in marks:
        drawing.line(x(mark), TOP - 4, x(mark), floor_y, stroke="#dddddd")
        drawing.text(x(mark), floor_y + 18, f"{mark * 100:g}%", text_anchor="middle")
    drawing.line(x(0.5), TOP - 4, x(0.5), floor_y, stroke="#777777", stroke_dasharray="4 3")
    models = list(dict.fromkeys(row.model for row in rows))
    for place, row in enumerate(rows):
        y, (colour, _) = TOP + 12 + ROW * place, look(models.index(row.model))
        words = legible(f"{row.model}  {row.label}" if row.source == ALL else f"    {row.source}")
        drawing.text(NAMES, y + 4, words if len(words) <= NAME else words[: NAME - 1] + "…")
        if row.accuracy is None:
            drawing.text(SHARES, y + 4, "nothing to tell right from wrong", fill="#777777")
            continue
        low, high = map(x, row.accuracy["interval"])
        drawing.line(low, y, high, y, stroke=colour, stroke_width=2)
        filled = colour if row.source == ALL else "white"
        drawing.add("circle", cx=x(row.accuracy["value"]), cy=y, r=4, fill=filled, stroke=colour, stroke_width=1.5)


def _reliability(
    drawing: Drawing, rows: Sequence[Row], *, left: float, right: float, top: float, bottom: float
) -> None:
    x, y = scale(0.5, 1, left, right), scale(0, 1, bottom, top)
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.line(left, y(mark), right, y(mark), stroke="#e4e4e4")
        drawing.text(left - 6, y(mark) + 4, f"{mark * 100:g}%", text_anchor="end")
    for mark in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        drawing.text(x(mark), bottom + 16, f"{mark * 100:g}%", text_anchor="middle")
    drawing.text((left + right) / 2, bottom + 32, "confidence", text_anchor="middle")
    drawing.line(x(0.5), y(0.5), x(1), y(1), stroke="#777777", stroke_dasharray="4 3")
    for place, row in enumerate(rows):
        bins = (row.measures["calibration"] or {"bins": ()})["bins"]
        known = [(bar["confidence"], bar["accuracy"]) for bar in bins if bar["confidence"] is not None]
        colour, dash = look(place)
        drawing.add(
            "polyline", points=points(known, x, y), fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dash
        )
        for confidence, accuracy in known:
            drawing.add("circle", cx=x(confidence), cy=y(accuracy), r=3, fill=colour)
        if len(rows) > 1 and known:
            name = legible(f"{row.model} {row.label}")
            drawing.text(left + 8, top + 14 + 15 * place, name[:NAME], fill=colour)
