"""A picture of one shape: which colour has it?"""

from __future__ import annotations

from functools import partial
from math import cos, pi, sin
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from lightrft_multimodal.toys.riddle import Riddle

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 230), "yellow": (230, 200, 40)}
SHAPES = ("circle", "square", "triangle", "cross")
SIDE = 32
"""Of a picture, in pixels."""


def shape(random: Random) -> Riddle:
    """A shape of any kind, size and place on a background of any dark grey."""
    answer = random.randrange(len(COLOURS))
    radius = random.uniform(8, 13)
    x, y = (random.uniform(radius, SIDE - radius) for _ in range(2))
    red, green, blue = [*COLOURS.values()][answer]
    light = random.uniform(0.7, 1.1)
    colour = (int(red * light), int(green * light), int(blue * light))
    picture = Image.new("RGB", (SIDE, SIDE), (random.randrange(60),) * 3)
    _draw(ImageDraw.Draw(picture), random.choice(SHAPES), x, y, radius, colour)
    return Riddle("image", ".png", partial(_save, picture), "Which colour is the shape?", tuple(COLOURS), answer)


def _draw(
    canvas: ImageDraw.ImageDraw, name: str, x: float, y: float, radius: float, colour: tuple[int, int, int]
) -> None:
    match name:
        case "circle":
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        case "square":
            half = 0.85 * radius
            canvas.rectangle((x - half, y - half, x + half, y + half), fill=colour)
        case "triangle":
            corners = [pi / 2 + 2 * pi * corner / 3 for corner in range(3)]
            canvas.polygon([(x + radius * cos(turn), y - radius * sin(turn)) for turn in corners], fill=colour)
        case _:
            arm = radius / 3
            canvas.rectangle((x - radius, y - arm, x + radius, y + arm), fill=colour)
            canvas.rectangle((x - arm, y - radius, x + arm, y + radius), fill=colour)


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path)
