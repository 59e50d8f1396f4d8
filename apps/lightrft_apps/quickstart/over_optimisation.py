"""True reward and a reward model's over the steps of a run, in one picture."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lightrft_apps.drawing.svg import COLOURS, Drawing, Scale, marks_between, points, scale
from lightrft_rewards.evaluation import OverOptimisation

WIDTH, HEIGHT = 760, 396
LEFT, RIGHT, TOP, BOTTOM = 66, 694, 64, 310
SENTENCE = 112
"""Characters of the sentence that fit into a line."""


def write_over_optimisation(found: OverOptimisation, folder: Path) -> None:
    """Write over_optimisation.json and over_optimisation.svg."""
    text = json.dumps(asdict(found), indent=1, allow_nan=False) + "\n"
    (folder / "over_optimisation.json").write_text(text, encoding="utf-8")
    (folder / "over_optimisation.svg").write_text(picture(found), encoding="utf-8")


def picture(found: OverOptimisation) -> str:
    """Both rewards by step, each on an axis of its own: points as measured, lines as smoothed, and the verdict."""
    drawing = Drawing(WIDTH, HEIGHT, "True reward and the reward model's over the steps of the run")
    drawing.text(LEFT, 24, drawing.title, font_size=14, font_weight="bold")
    if not found.steps:
        drawing.text(LEFT, TOP + 40, "there is no step at which both rewards are known", fill="#777777")
        return drawing.written()
    x = scale(found.steps[0], max(found.steps[-1], found.steps[0] + 1), LEFT, RIGHT)
    for mark in sorted({round(mark) for mark in marks_between(found.steps[0], found.steps[-1])}):
        if found.steps[0] <= mark <= found.steps[-1]:
            drawing.text(x(mark), BOTTOM + 18, str(mark), text_anchor="middle")
    drawing.text((LEFT + RIGHT) / 2, BOTTOM + 34, "step", text_anchor="middle")
    if found.step is not None:
        drawing.line(x(found.step), TOP, x(found.step), BOTTOM, stroke="#b00000", stroke_dasharray="4 3")
    _curve(drawing, found.steps, found.true_rewards, found.true_smoothed, x=x, number=0)
    _curve(drawing, found.steps, found.model_rewards, found.model_smoothed, x=x, number=1)
    for line, words in enumerate(textwrap.wrap(found.sentence, SENTENCE)):
        drawing.text(LEFT, BOTTOM + 54 + 15 * line, words, fill="#b00000" if found.verdict == "seen" else "#222222")
    return drawing.written()


def _curve(
    drawing: Drawing,
    steps: Sequence[int],
    rewards: Sequence[float],
    smoothed: Sequence[float],
    *,
    x: Scale,
    number: int,
) -> None:
    """The true reward (number 0) has its axis on the left, the model's (1) on the right."""
    marks, colour = marks_between(min(rewards), max(rewards)), COLOURS[number]
    y = scale(marks[0], marks[-1], BOTTOM, TOP)
    edge, side, anchor = ((LEFT, -8, "end"), (RIGHT, 8, "start"))[number]
    name = ("true reward (left)", "the model's reward (right)")[number]
    drawing.text((LEFT, RIGHT)[number], 48, name, fill=colour, text_anchor=("start", "end")[number])
    for mark in marks:
        drawing.line(LEFT, y(mark), RIGHT, y(mark), stroke="#e4e4e4", stroke_dasharray=("none", "2 4")[number])
        drawing.text(edge + side, y(mark) + 4, f"{mark:g}", text_anchor=anchor, fill=colour)
    for step, reward in zip(steps, rewards, strict=True):
        drawing.add("circle", cx=x(step), cy=y(reward), r=2.2, fill=colour, fill_opacity="0.45")
    line = points(list(zip(steps, smoothed, strict=True)), x, y)
    drawing.add("polyline", points=line, fill="none", stroke=colour, stroke_width=2)
