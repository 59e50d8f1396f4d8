"""A short sound: how does its pitch go?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import soundfile
from numpy.typing import NDArray

from lightrft_multimodal.toys.riddle import Riddle

COURSES = {"rising": (1.0, 2.0), "falling": (2.0, 1.0), "steady": (1.4, 1.4), "arching": (1.0, 1.0)}
RATE, SECONDS = 16_000, 0.8


def tone(random: Random) -> Riddle:
    """A tone of any height that rises, falls, stays, or rises and falls again by an octave."""
    answer = random.randrange(len(COURSES))
    begin, end = [*COURSES.values()][answer]
    time = np.linspace(0, 1, int(RATE * SECONDS))
    arch = np.sin(np.pi * time) if [*COURSES][answer] == "arching" else 0
    hertz = random.uniform(300, 900) * (begin + (end - begin) * time + arch)
    sound = random.uniform(0.3, 0.6) * np.sin(2 * np.pi * np.cumsum(hertz) / RATE + random.uniform(0, 6))
    noise = np.random.default_rng(random.getrandbits(64)).normal(0, 0.01, len(sound))
    samples = (sound + noise).astype(np.float32)
    return Riddle("audio", ".wav", partial(_save, samples), "How does the pitch go?", tuple(COURSES), answer)


def _save(samples: NDArray[np.float32], path: Path) -> None:
    soundfile.write(path, samples, RATE)
