"""One row of every data set as it is published, and files of such rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

Rows = Sequence[Mapping[str, Any]]

COT = "<think>The first has {one}.</think>\n<answer>Image {number} is better</answer>"


def write_json(rows: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def write_jsonl(rows: Rows, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(rows: Rows, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def write_csv(rows: Rows, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def hpdv3(number: int = 0, **changed: Any) -> dict[str, Any]:
    return {
        "prompt": f"a cat, number {number}",
        "path1": f"images/{number}a.jpg",
        "path2": f"images/{number}b.jpg",
        "model1": "flux",
        "model2": "sd",
        "confidence": 0.97,
        "choice_dist": [4, 12],
        **changed,
    }


def image_reward(number: int, image: int, rank: int, **changed: Any) -> dict[str, Any]:
    return {
        "image_path": f"images/train/train_1/{number}_{image}.webp",
        "prompt_id": f"{number:06}-0035",
        "prompt": f"prompt {number}",
        "classification": "Plants",
        "image_amount_in_total": 3,
        "rank": rank,
        "overall_rating": 6 - rank,
        "image_text_alignment_rating": 5,
        "fidelity_rating": rank,
        **changed,
    }


def omni(modality: str, preference: str = "response2", **changed: Any) -> dict[str, Any]:
    suffix = "" if modality == "video" else "_path"
    return {
        "id": "7",
        "prompt": "rain on a roof",
        "criteria": "Which is nearer to the prompt?",
        "criteria_preference": preference,
        f"response1{suffix}": "model_a/1.x",
        f"response2{suffix}": "model_b/1.x",
        "model1": "a",
        "model2": "b",
        **changed,
    }


def rapidata(**changed: Any) -> dict[str, Any]:
    return {
        "prompt": "a boat",
        "file_name1": "0001_pika.mp4",
        "file_name2": "0001_veo.mp4",
        "weighted_results1_Preference": 0.7,
        "weighted_results2_Preference": 0.3,
        "weighted_results1_Coherence": 0.25,
        "weighted_results2_Coherence": 0.75,
        "weighted_results1_Alignment": 0.5,
        "weighted_results2_Alignment": 0.5,
        **changed,
    }


def audio_alpaca(**changed: Any) -> dict[str, Any]:
    return {
        "prompt": "a dog barks",
        "chosen": {"bytes": b"RIFF-good", "path": "good.wav"},
        "rejected": {"bytes": b"RIFF-bad", "path": "bad.wav"},
        "strategy": "temporal",
        **changed,
    }


def imagegen_cot(better: int = 2, **changed: Any) -> dict[str, Any]:
    return {
        "images": ["images/0.png", "images/1.png"],
        "conversations": [
            {"from": "human", "value": "<image>\n<image>\nWhich image fits: a red house?"},
            {"from": "gpt", "value": COT.format(one="windows", number=better)},
        ],
        **changed,
    }


def genai_bench(**changed: Any) -> dict[str, Any]:
    return {
        "Index": "00001",
        "Prompt": "three birds",
        "Tags": {"basic": ["counting"]},
        "HumanRatings": {"DALLE_3": [5, 4, 3], "SDXL_Turbo": [2, 2, 1], "DeepFloyd": [4, 4, 4]},
        "DALLE_3": {"bytes": b"dalle", "path": "a.jpg"},
        "SDXL_Turbo": {"bytes": b"turbo", "path": "b.jpg"},
        "DeepFloyd": {"bytes": b"floyd", "path": "c.jpg"},
        **changed,
    }


def genai_video(**changed: Any) -> dict[str, Any]:
    return {"prompt": "a wave", "models": {"Gen2": [1, 2], "Pika": [3, 3]}, **changed}


def videodpo(**changed: Any) -> dict[str, Any]:
    return {"frame_caption": "a horse", "video1": 24, "video2": 31, "label": 0, "score": 0.4, **changed}


def videogen(**changed: Any) -> dict[str, Any]:
    return {
        "path_A": "videos/a.mp4",
        "path_B": "videos/b.mp4",
        "prompt": "a river",
        "A_model": "kling",
        "B_model": "luma",
        "VQ": "A",
        "MQ": "same",
        "TA": "B",
        "Overall": "A",
        "fps_A": "24",
        "fps_B": "30",
        **changed,
    }


def safe_rlhf(**changed: Any) -> dict[str, Any]:
    return {
        "prompt": "How do locks work?",
        "response_0": "Pins and springs.",
        "response_1": "Steal one and see.",
        "better_response_id": 1,
        "safer_response_id": 0,
        "is_response_0_safe": True,
        "is_response_1_safe": False,
        **changed,
    }


def pair(**changed: Any) -> dict[str, Any]:
    return {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", **changed}
