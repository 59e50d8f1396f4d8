"""Riddles: their media show what the label says, and nothing but their media does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from lightrft_multimodal import load_audio, load_image, load_video
from lightrft_multimodal.toys import Riddle, motion, shape, swapped, tone, write_riddles


def colour_seen(medium: Path) -> str:
    """By the channels of the pixels that are no grey."""
    pixels = np.asarray(load_image(medium).image()).reshape(-1, 3).astype(int)
    red, green, blue = pixels[np.ptp(pixels, axis=1) > 60].mean(0)
    if red > 120 and green > 120:
        return "yellow"
    return {red: "red", green: "green", blue: "blue"}[max(red, green, blue)]


def way_seen(medium: Path) -> str:
    """By how the middle of the bright pixels moves from the first frame to the last."""
    frames = load_video(medium).frames().astype(int)
    first, last = (np.argwhere(np.ptp(frame, axis=2) > 60).mean(0) for frame in (frames[0], frames[-1]))
    down, right = last - first
    return ("right" if right > 0 else "left") if abs(right) > abs(down) else ("down" if down > 0 else "up")


def course_heard(medium: Path) -> str:
    """By how often the sound crosses zero in its first, middle and last fifth."""
    samples = load_audio(medium).waveform()
    fifths = np.array_split(np.sign(samples - samples.mean()), 5)
    begin, middle, end = (np.count_nonzero(np.diff(fifth)) for fifth in (fifths[0], fifths[2], fifths[4]))
    if middle > 1.25 * max(begin, end):
        return "arching"
    if end > 1.25 * begin:
        return "rising"
    return "falling" if begin > 1.25 * end else "steady"


SENSES = {shape: colour_seen, motion: way_seen, tone: course_heard}


@pytest.mark.parametrize("toy", SENSES, ids=lambda toy: toy.__name__)
def test_the_medium_shows_the_answer(toy: Callable[[Random], Riddle], tmp_path: Path) -> None:
    random = Random(5)
    riddles = [toy(random) for _ in range(24)]
    write_riddles(riddles, tmp_path / "riddles.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "riddles.jsonl").read_text().splitlines()]
    seen = [SENSES[toy](tmp_path / row[f"{riddle.modality}s"][0]) for row, riddle in zip(rows, riddles, strict=True)]
    assert seen == [riddle.solution for riddle in riddles] == [row["output"] for row in rows]
    assert len(Counter(seen)) == 4
    assert len({row["input"] for row in rows}) == 1


def test_the_same_numbers_draw_the_same_riddles(tmp_path: Path) -> None:
    for name in ("one", "other"):
        random = Random(7)
        (tmp_path / name).mkdir()
        write_riddles([toy(random) for toy in (shape, tone)], tmp_path / name / "riddles.jsonl")
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "other")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_swapped_rows_keep_question_and_label_and_show_another_riddles_medium() -> None:
    rows = [
        {
            "input": "colour?" if number % 2 else "way?",
            "label": number,
            "images" if number % 2 else "videos": [str(number)],
        }
        for number in range(7)
    ]
    others = swapped(rows)
    assert [(row["input"], row["label"]) for row in others] == [(row["input"], row["label"]) for row in rows]
    assert [row.get("images") or row.get("videos") for row in others] == [
        [n] for n in ("2", "3", "4", "5", "6", "1", "0")
    ]
    assert all(row.keys() == other.keys() for row, other in zip(rows, others, strict=True))


def test_an_answer_that_is_mistaken_leaves_the_label_right(tmp_path: Path) -> None:
    riddle = shape(Random(1))
    write_riddles([riddle], tmp_path / "taught.jsonl", lambda _: {"output": "mauve"})
    (row,) = map(json.loads, (tmp_path / "taught.jsonl").read_text().splitlines())
    assert (row["output"], row["label"]["choices"][row["label"]["answer"]]) == ("mauve", riddle.solution)
