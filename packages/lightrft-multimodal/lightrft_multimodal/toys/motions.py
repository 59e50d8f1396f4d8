"""A film of a moving square: which way does it go?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random

import av
import numpy as np
from numpy.typing import NDArray

from lightrft_multimodal.toys.riddle import Riddle
from lightrft_multimodal.toys.shapes import COLOURS

WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SIDE, FRAMES, PER_SECOND = 32, 4, 2
"""Pixels of a frame's side, frames of a film, frames of it in a second."""


def motion(random: Random) -> Riddle:
    """A square of any colour that goes one of four ways from one side of the film to the other."""
    answer = random.randrange(len(WAYS))
    way = np.array([*WAYS.values()][answer])
    colour = random.choice([*COLOURS.values()])
    size, across = random.randrange(7, 12), random.uniform(-6, 6)
    film = np.full((FRAMES, SIDE, SIDE, 3), random.randrange(60), dtype=np.uint8)
    for number, frame in enumerate(film):
        along = (number - (FRAMES - 1) / 2) * random.uniform(5, 6.5)
        x, y = (np.array([SIDE, SIDE]) - size) / 2 + way * along + way[::-1] * across
        frame[round(y) : round(y) + size, round(x) : round(x) + size] = colour
    return Riddle("video", ".mp4", partial(_save, film), "Which way does it move?", tuple(WAYS), answer)


def _save(film: NDArray[np.uint8], path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=PER_SECOND, options={"crf": "10", "bf": "0"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for frame in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
