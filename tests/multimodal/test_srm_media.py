"""Training of reward models that see: the same command, rewards that follow from what is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps import RMConfig, train_reward_model
from lightrft_apps.training import supervised
from lightrft_multimodal.tiny import build_qwen2_5_vl
from lightrft_rewards.models.loading import load_reward_model
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_strategy.data import PromptDataError

from .test_sft_media import COLOURS, SMALL, picture

pytestmark = pytest.mark.usefixtures("one_thread")

Start = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_qwen2_5_vl(tmp_path_factory.mktemp("model"), SMALL)


@pytest.fixture
def start(model: Path, tmp_path: Path) -> Start:
    """start(rows, **flags) -> the summary of a run in tmp_path/run."""

    def run(rows: list[Any], name: str = "run", **flags: Any) -> dict[str, Any]:
        path = tmp_path / "rows" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        shape = {"apply_chat_template": True, "lr_warmup_ratio": 0.0, "progress": False, "train_batch_size": 4}
        places = {"pretrain": str(model), "train_data": str(path), "output_dir": str(tmp_path / name)}
        return train_reward_model(RMConfig.create(**shape | places | flags))

    return run


def shown(folder: Path, colour: str, number: int) -> dict[str, str]:
    return {"type": "image", "image": picture(folder, colour, number)}


def test_it_learns_which_picture_was_asked_for_and_its_towers_at_a_pace_of_their_own(
    start: Start, model: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    other = {"red": "blue", "blue": "red"}
    rows = [
        {"prompt": colour, "chosen": shown(tmp_path, colour, n), "rejected": shown(tmp_path, other[colour], n)}
        for n in range(2)
        for colour in COLOURS
    ]
    built: list[dict[str, Any]] = []
    trainer = supervised.SupervisedTrainer
    monkeypatch.setattr(supervised, "SupervisedTrainer", lambda **parts: [built.append(parts), trainer(**parts)][1])
    flags = {"max_epochs": 20, "learning_rate": 1e-2, "vision_learning_rate": 2e-3, "pooling_method": "attn"}
    summary = start(rows, media_root=str(tmp_path), eval_data=str(tmp_path / "rows" / "run.jsonl"), **flags)
    assert summary["accuracy_after"]["score"]["value"] == 1.0
    assert summary["losses"][-1] < 0.2 < summary["losses"][0]

    (strategy,) = (parts["strategy"] for parts in built)
    factors, weights = strategy.optimisers["rm"].factors, dict(strategy.held["rm"].module.named_parameters())
    assert set(factors.values()) == {0.2}
    in_towers = {name for name in weights if name.startswith(tuple(factors))}
    assert in_towers == {name for name in weights if "visual" in name} != set()

    loaded = load_reward_model(tmp_path / "run" / "final")
    assert loaded.card.pooling == "attention"
    assert (tmp_path / "run" / "final" / "reward_head.safetensors").is_file()
    scorer = ModelScorer.load(tmp_path / "run" / "final")
    assert scorer.parts == ("rm",)


def test_questions_show_what_stands_under_the_keys_that_flags_name_and_in_the_folder_that_one_names(
    start: Start, tmp_path: Path
) -> None:
    inside, colours = tmp_path / "inside", list(COLOURS)
    inside.mkdir()
    rows = [
        {"prompt": "which colour is it?", "seen": picture(inside, c, 0), "chosen": c, "rejected": colours[1 - i]}
        for i, c in enumerate(colours)
    ]
    outside = rows[0] | {"seen": f"../{picture(tmp_path, 'red', 1)}"}
    flags = {"images_key": "seen", "media_root": str(inside)}
    with_pictures = start([*rows, outside], **flags)["tokens"]
    assert with_pictures > start(rows, "blind")["tokens"], "there are tokens for the pictures"
    (rejected,) = map(json.loads, (tmp_path / "run" / "rejected.jsonl").read_text().splitlines())
    assert "lies outside of" in rejected["reason"]
    for name, row, flag, told in (
        ("no root", rows[0], {"images_key": "seen"}, "red_0.png"),
        ("no URLs", rows[0] | {"seen": "http://127.0.0.1:9/a.png"}, flags, "--media_urls"),
        ("fetched", rows[0] | {"seen": "http://127.0.0.1:9/a.png"}, flags | {"media_urls": True}, "not public"),
        ("a film", rows[0] | {"film": "film.mp4"}, flags | {"videos_key": "film"}, "film.mp4"),
        ("a sound", rows[0] | {"tone": "tone.wav"}, flags | {"audios_key": "tone"}, "reads no audios"),
    ):
        with pytest.raises(PromptDataError) as nothing:
            start([row], name, **flag)
        assert told in str(nothing.value)
