"""Malformed rows never end the reading: each is a comparison, or rejected by name; none is lost."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lightrft_rewards.preferences import load_comparisons
from lightrft_rewards.preferences.spec import HANDLERS
from lightrft_strategy.data.rejected import write_rejected

from . import published

GOOD: dict[str, list[dict[str, Any]]] = {
    "": [
        published.pair(margin=2),
        published.pair(chosen=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]),
        {"prompt": "x", "answers": ["a", "b", "c"], "ranks": [1, 2, 3], "images": ["a.png"]},
        {
            "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}],
            "response": "a",
            "score": 3,
            "images": "a.png",
        },
    ],
    "audio-alpaca": [published.audio_alpaca(chosen={"path": "a.wav"}, rejected={"path": "b.wav"})],
    "genai_bench": [
        published.genai_bench(**{model: {"path": f"{model}.jpg"} for model in ("DALLE_3", "SDXL_Turbo", "DeepFloyd")}),
        {"prompt": "x", "left_image": "a.png", "right_image": "b.png", "vote_type": "leftvote"},
    ],
    "genai_bench_video": [published.genai_video(id="7")],
    "hpdv3": [published.hpdv3()],
    "imagegen-cot-reward-5k": [published.imagegen_cot()],
    "imagerewarddb": [published.image_reward(prompt, image, image) for prompt in range(40) for image in (1, 2)],
    "omnirewardbench-t2a": [published.omni("audio")],
    "omnirewardbench-t2i": [published.omni("image")],
    "omnirewardbench-t2v": [published.omni("video")],
    "pku_saferlhf": [published.safe_rlhf()],
    "rapidata-i2v": [published.rapidata(prompt_asset={"path": "a.png"})],
    "rapidata-t2v": [published.rapidata()],
    "videodpo": [published.videodpo()],
    "videogen-rewardbench": [published.videogen()],
}
STRANGE: list[Any] = [
    *(None, "", " ", "nan", "-1", "1e999", "\ud800", "a" * 5000, "../../up", "\0", "\n\nHuman:", "\n\nHuman: a"),
    *(0, -1, 7, 2**70, 1.5, 1e308, -1e308, True, False, [], {}, [[]], [None], [1, 2], [1, "b"], ["a", "b", "c"]),
    *({"a": 1}, {"bytes": None}, {"type": "image"}, {"type": "odd"}, [{"role": "user"}], [{"role": 3, "content": 4}]),
    *([{"role": "assistant", "content": None}], {"score": [1, 2]}, {"score": {"a": 1}}, [{"value": 3}, {"value": "x"}]),
]


def spoilt(rows: list[dict[str, Any]], random: Random) -> Any:
    """A good row with one to three things done to it."""
    row = deepcopy(random.choice(rows))
    for _ in range(random.randint(1, 3)):
        place: Any = row
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = random.choice(keys)
            if isinstance(place[key], dict | list) and place[key] and random.random() < 0.5:
                place = place[key]
                continue
            if isinstance(place, dict) and random.random() < 0.3:
                del place[key]
            else:
                place[key] = deepcopy(random.choice(STRANGE))
            break
    return row if random.random() < 0.97 else random.choice(STRANGE)


def line(row: Any, random: Random) -> bytes:
    text = json.dumps(row).encode()
    return (
        text if random.random() < 0.97 else text[: random.randrange(1, len(text) + 1)] + random.choice([b"", b"\xff"])
    )


def outcomes(folder: Path, count: int) -> tuple[int, int]:
    """(comparisons, rejections) of so many rows of each handler; fails if one is lost or unnamed."""
    kept = refused = 0
    for name, rows in GOOD.items():
        random = Random(name)
        whole = [json.dumps(row).encode() for row in rows]
        lines = [*whole, *(line(spoilt(rows, random), random) for _ in range(count))]
        file = folder / f"{name or 'plain'}.jsonl"
        file.write_bytes(b"\n".join(lines))
        loaded = load_comparisons(f"{name}:{file}" if name else str(file))
        seen = [int(each.uid.rpartition(":")[2]) for each in loaded.comparisons if name != "imagerewarddb"]
        named = [item.row for item in loaded.rejected]
        assert all(item.source == str(file) and item.reason for item in loaded.rejected)
        if name == "imagerewarddb":
            assert sum(len(each.answers) for each in loaded.comparisons) + len(set(named)) == len(lines)
        else:
            assert sorted(seen + named) == list(range(1, len(lines) + 1))
            assert set(range(1, len(whole) + 1)) <= set(seen)
        write_rejected(folder / "rejected.jsonl", loaded.rejected)
        kept, refused = kept + len(loaded.comparisons), refused + len(loaded.rejected)
    return kept, refused


def test_every_handler_is_spoilt_here() -> None:
    assert set(GOOD) == {"", *HANDLERS}


def test_each_of_300_malformed_rows_is_a_comparison_or_a_named_rejection(tmp_path: Path) -> None:
    kept, refused = outcomes(tmp_path, 300 // len(GOOD))
    assert kept > 50, "some mischief does no harm"
    assert refused > 150


@pytest.mark.proof
def test_each_of_30000_malformed_rows_is_a_comparison_or_a_named_rejection(tmp_path: Path) -> None:
    outcomes(tmp_path, 30_000 // len(GOOD))
