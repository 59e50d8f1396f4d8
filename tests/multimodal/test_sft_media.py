"""Supervised fine-tuning of models that see and hear: the same command, answers that depend on the media."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lightrft_apps import SFTConfig, tune
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni, build_qwen2_5_vl

from .made import film, sound_file, tone

pytestmark = pytest.mark.usefixtures("one_thread")

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}
TEXTS = ["which colour is it? red blue green", "and this? what do you see or hear? high low film"]
SMALL = Sizes(texts=TEXTS)

Start = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_qwen2_5_vl(tmp_path_factory.mktemp("model"), SMALL)


def picture(folder: Path, colour: str, number: int) -> str:
    """A picture of that colour, named by its path in the folder."""
    path = folder / f"{colour}_{number}.png"
    shade = tuple(min(255, channel + 5 * number) for channel in COLOURS[colour])
    Image.new("RGB", (28 + 28 * (number % 2), 28), shade).save(path)
    return path.name


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """start(model, rows, **flags) -> the summary of a run in tmp_path/run."""

    def run(model: Path, rows: list[Any], name: str = "run", **flags: Any) -> dict[str, Any]:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        shape = {"apply_chat_template": True, "lr_warmup_ratio": 0.0, "progress": False, "train_batch_size": 7}
        places = {"pretrain": str(model), "dataset": str(path), "output_dir": str(tmp_path / name)}
        return tune(SFTConfig.create(**shape | places | flags))

    return run


def numbers(run: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in lines]


def test_it_learns_what_only_the_pictures_tell(model: Path, start: Start, tmp_path: Path) -> None:
    """The answers follow the pictures: where these are swapped, the answers given are unlikely."""

    def rows(shown: Callable[[str], str]) -> list[dict[str, Any]]:
        return [
            {"input": "which colour is it?", "output": colour, "images": [picture(tmp_path, shown(colour), number)]}
            for number in range(2)
            for colour in COLOURS
        ]

    swapped = {"red": "blue", "blue": "red"}
    flags = {"max_epochs": 25, "learning_rate": 1e-2, "train_batch_size": 4, "packing_samples": True}
    learnt = start(model, rows(lambda colour: colour), eval_dataset=str(tmp_path / "run.jsonl"), **flags)
    assert learnt["loss_after"] < 0.1 < learnt["loss_before"]
    final = tmp_path / "run" / "final"
    again = start(
        final, rows(swapped.__getitem__), "swapped", max_steps=1, eval_dataset=str(tmp_path / "swapped.jsonl")
    )
    assert again["loss_before"] > 10 * learnt["loss_after"]


def test_conversations_with_media_of_every_kind_learn_alike_packed_and_padded(
    start: Start, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "film.mp4").write_bytes(film(frames=8, size=(56, 56)))
    (tmp_path / "tone.wav").write_bytes(sound_file(tone(0.3), 16_000))
    image = {"type": "image", "image": picture(tmp_path, "red", 1)}
    video, audio = {"type": "video", "video": "film.mp4"}, {"type": "audio", "audio": "tone.wav"}

    def asked(*parts: Any) -> dict[str, Any]:
        return {"role": "user", "content": [*parts, {"type": "text", "text": "what do you see or hear?"}]}

    def said(text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": text}

    rows = [
        {"input": [asked(image), said("red"), asked(), said("red"), asked(video, image), said("film red")]},
        {"input": [asked(audio), said("high")]},
        {"input": [asked(), said("low")]},
        {"input": [asked(image, image, image), said("red red red")]},
        {"input": [asked(audio, image), said("high red"), asked(audio), said("high")]},
        {"input": [asked({"type": "image", "image": "missing.png"}), said("red")]},
    ]
    omni = build_qwen2_5_omni(tmp_path_factory.mktemp("omni"), SMALL)
    flags = {"multiturn": True, "max_epochs": 2, "learning_rate": 1e-3, "max_len": 4096}
    for name, packing in (("padded", False), ("packed", True)):
        start(omni, rows, name, packing_samples=packing, micro_train_batch_size=3, **flags)
    padded, packed = numbers(tmp_path / "padded"), numbers(tmp_path / "packed")
    for one, other in zip(padded, packed, strict=True):
        assert one == pytest.approx(other, rel=2e-3, abs=1e-4)
    assert len(padded) == 2, "seven examples, two of them of the first conversation and two of the fifth, twice"
    (rejected,) = map(json.loads, (tmp_path / "padded" / "rejected.jsonl").read_text().splitlines())
    assert rejected["row"] == 6 and "missing.png" in rejected["reason"]


def test_a_frozen_tower_stays_and_the_rest_learns(model: Path, start: Start, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    rows = [{"input": "which colour is it?", "output": c, "images": picture(tmp_path, c, 0)} for c in COLOURS]
    start(model, rows, freeze_prefix="model.visual", max_steps=1, learning_rate=1e-2)
    before, after = load_file(model / "model.safetensors"), load_file(tmp_path / "run" / "final" / "model.safetensors")
    assert before.keys() == after.keys()
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(is_same for name, is_same in same.items() if "visual" in name)
    assert not any(is_same for name, is_same in same.items() if "q_proj.weight" in name and "visual" not in name)
