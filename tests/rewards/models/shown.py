"""Tiny models that see or hear, and comparisons that only eyes or ears can decide."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import soundfile
from PIL import Image

from lightrft_multimodal.adapters import MediaAdapter, load_adapter
from lightrft_multimodal.encoding import MediaEncoder
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_vl, build_qwen2_audio
from lightrft_rewards.models.passage import Contest
from lightrft_rewards.models.writing import Writer
from lightrft_rewards.preferences.comparison import Answer, Comparison
from lightrft_strategy.data.parts import Medium, Turn

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 180, 30)}
HERTZ = {"low": 300.0, "middle": 900.0, "high": 2700.0}
SIZES = Sizes(
    texts=("Request: red blue green low middle high Result: which is it? user assistant",) * 4,
    hidden_size=32,
    intermediate_size=64,
    tower_size=32,
    tower_layers=1,
    max_seconds=1,
    initializer_range=0.1,
)


def picture(random: Random, colour: str) -> Medium:
    """A picture of one colour, a little lighter or darker."""
    shade = tuple(max(0, min(255, channel + random.randrange(-30, 31))) for channel in COLOURS[colour])
    file = io.BytesIO()
    Image.new("RGB", (16, 16), shade).save(file, "PNG")
    return Medium("image", {"type": "image", "image": file.getvalue()}, "the image")


def sound(random: Random, height: str) -> Medium:
    """A tone of that height, a little higher or lower."""
    time = np.arange(3200) / 16_000
    wave = 0.5 * np.sin(2 * np.pi * HERTZ[height] * random.uniform(0.9, 1.1) * time).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, wave, 16_000, format="WAV")
    return Medium("audio", {"type": "audio", "audio": file.getvalue()}, "the audio")


class Sense(NamedTuple):
    """A modality of the toys: its model, what it tells apart, and how a medium of each is made."""

    build: Callable[..., Path]
    names: tuple[str, ...]
    make: Callable[[Random, str], Medium]


SENSES = {
    "image": Sense(build_qwen2_5_vl, tuple(COLOURS), picture),
    "audio": Sense(build_qwen2_audio, tuple(HERTZ), sound),
}


class Subject:
    """A tiny model of a sense, in a folder, and what writes for it."""

    def __init__(self, sense: str, folder: Path) -> None:
        self.sense, self.folder = SENSES[sense], SENSES[sense].build(folder, SIZES)
        adapter = load_adapter(self.folder)
        assert adapter is not None
        self.adapter: MediaAdapter = adapter
        self.writer = Writer(adapter.tokenizer, MediaEncoder(adapter))

    def model(self) -> Any:
        return self.adapter.load_model(self.folder)

    def comparison(self, random: Random, number: int, *, made: bool, answers: int = 2) -> Comparison:
        """made: of media made for a word; else of words for a medium. The first word of those drawn is the right one.

        With three answers, the one that comes next in the list of words is second best.
        """
        right = random.randrange(3)
        order = [right, (right + 1) % 3, (right + 2) % 3]
        places = (
            random.sample(range(answers), answers) if answers == 3 else random.sample([0, random.choice([1, 2])], 2)
        )
        words = [self.sense.names[order[place]] for place in places]
        told = self.sense.names[right]
        asked: Answer = (told,) if made else (self.sense.make(random, told), "which is it?")
        shown = tuple(((self.sense.make(random, word),) if made else (word,)) for word in words)
        labels = {"score": tuple(-float(place) for place in places)}
        return Comparison(f"row:{number}", (Turn("user", asked),), shown, labels)

    def contests(self, count: int, seed: int, **settings: Any) -> list[Contest]:
        random = Random(seed)
        return [self.writer.contest(self.comparison(random, number, **settings)) for number in range(count)]
