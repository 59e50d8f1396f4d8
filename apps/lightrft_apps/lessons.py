"""What the quick starts of pictures, films and sounds are about: riddles, a tiny model, and how long it learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni, build_qwen2_5_vl, build_qwen2_audio
from lightrft_multimodal.toys import Riddle, motion, shape, swapped, tone, write_riddles, write_rows

HELD_OUT = 200
"""Riddles that are never learnt from."""


@dataclass(frozen=True)
class Lesson:
    """about: said first. build: the model, of random weights, from config. toys: what riddles are drawn by, in turn.

    examples: riddles with answers, for the warm-up. riddles: without, for GRPO. warmup, grpo: flags of the two.
    """

    about: str
    build: Callable[..., Path]
    toys: tuple[Callable[[Random], Riddle], ...]
    examples: int
    riddles: int
    warmup: dict[str, Any] = field(default_factory=dict[str, Any])
    grpo: dict[str, Any] = field(default_factory=dict[str, Any])

    def write(self, folder: Path, seed: int) -> None:
        """Fill a folder: model/, and as JSONL with their media: examples, riddles, heldout, swapped."""
        random = Random(seed)
        parts = {"examples": self.examples, "riddles": self.riddles, "heldout": HELD_OUT}
        for name, count in parts.items():
            toys = [self.toys[number % len(self.toys)] for number in range(count)]
            file = write_riddles([toy(random) for toy in toys], folder / f"{name}.jsonl")
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        write_rows(swapped(rows), folder / "swapped.jsonl")
        texts = [text for row in rows for text in (row["input"], *row["label"]["choices"])]
        self.build(folder / "model", Sizes(texts=tuple(texts), **SIZES), seed=seed)


SIZES: dict[str, Any] = {
    "vocab_size": 330,
    "hidden_size": 64,
    "intermediate_size": 128,
    "tower_size": 64,
    "initializer_range": 0.1,
    "min_pixels": 32 * 32,
    "max_pixels": 32 * 32,
    "max_seconds": 1,
}
WARMUP = {
    "apply_chat_template": True,
    "train_batch_size": 32,
    "micro_train_batch_size": 512,
    "max_tokens_per_micro_batch": 32768,
    "lr_scheduler": "linear",
    "lr_warmup_ratio": 0.1,
    "l2": 0.01,
    "save_steps": -1,
}
GRPO = {
    "apply_chat_template": True,
    "rule_reward": "multiple_choice",
    "init_kl_coef": 0.0,
    "stop_properly_penalty_coef": 0.0,
    "rollout_batch_size": 32,
    "n_samples_per_prompt": 8,
    "generate_max_len": 8,
    "num_episodes": 100,
    "micro_train_batch_size": 512,
    "max_tokens_per_micro_batch": 32768,
    "lr_scheduler": "linear",
    "lr_warmup_ratio": 0.0,
    "reward_workers": 1,
    "save_steps": -1,
}
LESSONS = {
    "image": Lesson(
        "A tiny Qwen2.5-VL of random weights learns to tell circles, squares, triangles and crosses apart",
        build_qwen2_5_vl,
        (shape,),
        examples=1024,
        riddles=1024,
        warmup={"learning_rate": 3e-3, "max_epochs": 3},
        grpo={"actor_learning_rate": 1e-3, "max_steps": 100},
    ),
    "video": Lesson(
        "A tiny Qwen2.5-VL of random weights learns to see which way a square moves",
        build_qwen2_5_vl,
        (motion,),
        examples=1024,
        riddles=1024,
        warmup={"learning_rate": 3e-3, "max_epochs": 3},
        grpo={"actor_learning_rate": 1e-3, "max_steps": 100},
    ),
    "audio": Lesson(
        "A tiny Qwen2-Audio of random weights learns to hear how a pitch goes",
        build_qwen2_audio,
        (tone,),
        examples=1024,
        riddles=1024,
        warmup={"learning_rate": 3e-3, "max_epochs": 3},
        grpo={"actor_learning_rate": 1e-3, "max_steps": 100},
    ),
    "mixed": Lesson(
        "A tiny Qwen2.5-Omni of random weights learns from pictures, films and sounds at once",
        build_qwen2_5_omni,
        (shape, motion, tone),
        examples=1536,
        riddles=1536,
        warmup={"learning_rate": 3e-3, "max_epochs": 3},
        grpo={"actor_learning_rate": 1e-3, "max_steps": 150},
    ),
}
