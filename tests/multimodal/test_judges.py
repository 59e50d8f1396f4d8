"""Judges that see and hear: what they say follows what they are shown, in either order, in the formats of data sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lightrft_apps import GRMConfig, train_judge
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni, build_qwen2_5_vl
from lightrft_rewards.models.judges import JudgeForm
from lightrft_rewards.models.judges.questions import compared
from lightrft_rewards.preferences import Comparison
from lightrft_strategy.data.parts import Turn

from .made import film, sound_file, tone
from .test_sft_media import COLOURS, picture

pytestmark = pytest.mark.usefixtures("one_thread")

OTHER = {"red": "blue", "blue": "red"}


def sizes() -> Sizes:
    """Of models whose tokenizers have a token for most of what judges read and say."""
    pair = Comparison("x", (Turn("user", ("red blue high low",)),), (("a",), ("b",)), {"score": (1.0, 0.0)})
    asked = compared(pair, (0, 1), "score", JudgeForm(ties=False)).turn.text
    texts = [asked.replace("Answer", noun).replace("answer", noun.lower()) for noun in ("Image", "Video", "Audio")]
    return Sizes(texts=tuple(texts * 3), vocab_size=420, hidden_size=64, initializer_range=0.1)


Teach = Callable[..., dict[str, Any]]


@pytest.fixture
def teach(tmp_path: Path) -> Teach:
    """teach(model, data, **flags) -> what a judge says, in the end, of the comparisons that it learns from."""

    def run(model: Path, data: str, **flags: Any) -> dict[str, Any]:
        shape = {
            "apply_chat_template": True,
            "judge_ties": False,
            "train_batch_size": 8,
            "learning_rate": 5e-3,
            "lr_warmup_ratio": 0.1,
            "generate_max_len": 24,
            "save_steps": -1,
            "progress": False,
        }
        places = {"pretrain": str(model), "train_data": data, "eval_data": data, "output_dir": str(tmp_path / "run")}
        summary = train_judge(GRMConfig.create(**shape | places | {"eval_split": "train"} | flags))
        agreement: dict[str, Any] = summary["agreement"]["score"]
        return agreement

    return run


def pictures(folder: Path, wanted: Sequence[str]) -> str:
    """Pairs of a picture in the colour that is wanted and one in the other, as HPDv3 has them."""
    (folder / "pictures").mkdir()

    def path(colour: str, number: int) -> str:
        return f"pictures/{picture(folder / 'pictures', colour, number)}"

    rows = [
        {"prompt": colour, "path1": path(colour, number), "path2": path(OTHER[colour], number)}
        for number in range(2)
        for colour in wanted
    ]
    (folder / "train.json").write_text(json.dumps(rows))
    return f"hpdv3:{folder / 'train.json'}"


def test_a_judge_that_sees_knows_the_better_picture_in_either_place(teach: Teach, tmp_path: Path) -> None:
    model = build_qwen2_5_vl(tmp_path / "model", sizes())
    agreement = teach(model, pictures(tmp_path, ["red"]), max_epochs=30)
    assert agreement["unreadable"] == 0
    assert agreement["right_in_both_orders"]["value"] == 1


@pytest.mark.proof
def test_a_judge_that_sees_says_which_picture_was_asked_for_in_either_order(teach: Teach, tmp_path: Path) -> None:
    model = build_qwen2_5_vl(tmp_path / "model", sizes())
    agreement = teach(model, pictures(tmp_path, [*COLOURS]), max_epochs=200, learning_rate=3e-3)
    assert agreement["right_in_both_orders"]["value"] == 1


@pytest.mark.proof
def test_a_judge_that_hears_knows_the_better_sound_in_either_place(teach: Teach, tmp_path: Path) -> None:
    def sound(pitch: float) -> dict[str, bytes]:
        return {"bytes": sound_file(tone(0.3, pitch=pitch), 16_000)}

    pitches = [(2000.0, 300.0), (2100.0, 320.0)]
    rows = [{"prompt": "high", "chosen": sound(high), "rejected": sound(low), "strategy": "x"} for high, low in pitches]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    model = build_qwen2_5_omni(tmp_path / "model", sizes())
    agreement = teach(model, f"audio-alpaca:{tmp_path / 'train.parquet'}", max_epochs=100)
    assert agreement["right_in_both_orders"]["value"] == 1


@pytest.mark.proof
def test_a_judge_watches_both_films(teach: Teach, tmp_path: Path) -> None:
    """Whichever film is shorter: the winners of VideoDPO's numbering."""
    for folder, frames in (("winvideos", 4), ("losevideos", 16)):
        (tmp_path / folder).mkdir()
        for number in range(2):
            (tmp_path / folder / f"{number:06}.mp4").write_bytes(film(frames=frames))
    rows = [{"frame_caption": "red", "video1": 2 * number, "video2": 2 * number + 1} for number in range(2)]
    (tmp_path / "pair.json").write_text(json.dumps(rows))
    model = build_qwen2_5_vl(tmp_path / "model", sizes())
    agreement = teach(model, f"videodpo:{tmp_path / 'pair.json'}", max_epochs=80)
    assert agreement["right_in_both_orders"]["value"] == 1
