"""What the quick starts of pictures, films and sounds are about: riddles, a tiny model, and how long it learns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni, build_qwen2_5_vl, build_qwen2_audio
from lightrft_multimodal.toys import Riddle, motion, shape, swapped, tone, write_riddles, write_rows

MISTAKEN = 0.75
"""How often the teacher mistakes what it can mistake."""
HELD_OUT = 200
"""Riddles that are never learnt from."""
NARROW = {"num_attention_heads": 4, "num_key_value_heads": 2}
WIDE = {"num_attention_heads": 1, "num_key_value_heads": 1}
"""As wide as other projects' engines need heads: 64."""


@dataclass(frozen=True)
class Lesson:
    """about: said first. build: the model, of random weights, from config. toys: what riddles are drawn by, in turn.

    mistakes: what the teacher of the warm-up mostly says in place of which answer. examples: riddles that the teacher
    answers; riddles: those that GRPO learns from, by their right answers. warmup, grpo: flags of the two.
    """

    about: str
    build: Callable[..., Path]
    toys: tuple[Callable[[Random], Riddle], ...]
    mistakes: Mapping[str, str]
    examples: int = 1024
    riddles: int = 1024
    warmup: dict[str, Any] = field(default_factory=dict[str, Any])
    grpo: dict[str, Any] = field(default_factory=dict[str, Any])

    def write(self, folder: Path, seed: int, heads: Mapping[str, int] = NARROW, sayings: Sequence[str] = ()) -> None:
        """Fill a folder: model/, and as JSONL with their media: examples, riddles, heldout, swapped.

        heads: of the model. sayings: what else it will read and write, for which it gets words of its own.
        """
        random = Random(seed)

        def taught(riddle: Riddle) -> dict[str, str]:
            mistaken = random.random() < MISTAKEN
            return {"output": self.mistakes.get(riddle.solution, riddle.solution) if mistaken else riddle.solution}

        write_riddles(self.drawn(self.examples, random), folder / "examples.jsonl", taught)
        write_riddles(self.drawn(self.riddles, random), folder / "riddles.jsonl")
        file = write_riddles(self.drawn(HELD_OUT, random), folder / "heldout.jsonl")
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        write_rows(swapped(rows), folder / "swapped.jsonl")
        texts = [text for row in rows for text in (row["input"], *row["label"]["choices"])]
        sizes = {**SIZES, **heads, "vocab_size": SIZES["vocab_size"] + (WORDS if sayings else 0)}
        self.build(folder / "model", Sizes(texts=(*texts, *sayings), **sizes), seed=seed)

    def write_preferences(self, folder: Path, seed: int, count: int) -> None:
        """Fill a folder with comparisons of a right and a wrong answer, of riddles that are in no other file.

        So many in preferences.jsonl, HELD_OUT in preferences_heldout.jsonl; each with a written judgement.
        """
        random = Random(f"{seed}/preferences")

        def compared(riddle: Riddle) -> dict[str, Any]:
            wrong = random.choice([choice for choice in riddle.choices if choice != riddle.solution])
            place = random.randrange(2)
            return {
                "prompt": riddle.question,
                "answers": [riddle.solution, wrong] if place == 0 else [wrong, riddle.solution],
                "scores": [1 - place, place],
                "reasoning": judgement(riddle.solution, place),
            }

        write_riddles(self.drawn(count, random), folder / "preferences.jsonl", compared)
        write_riddles(self.drawn(HELD_OUT, random), folder / "preferences_heldout.jsonl", compared)

    def drawn(self, count: int, random: Random) -> list[Riddle]:
        """So many riddles, of each toy in turn."""
        return [self.toys[number % len(self.toys)](random) for number in range(count)]


def judgement(solution: str, place: int) -> str:
    """What a judge thinks and says: what it perceives, and which answer, counted from 0, is that."""
    return f"<think>{solution}</think><answer>Answer {place + 1} is better</answer>"


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
WORDS = 192
"""More tokens, for a model that is to write judgements."""
WARMUP = {
    "apply_chat_template": True,
    "train_batch_size": 32,
    "micro_train_batch_size": 512,
    "max_tokens_per_micro_batch": 32768,
    "learning_rate": 3e-3,
    "lr_scheduler": "linear",
    "lr_warmup_ratio": 0.1,
    "l2": 0.01,
    "save_steps": -1,
}
REWARD_MODEL = {
    "apply_chat_template": True,
    "max_len": 512,
    "train_batch_size": 32,
    "micro_train_batch_size": 256,
    "max_tokens_per_micro_batch": 32768,
    "learning_rate": 1e-3,
    "lr_scheduler": "linear",
    "lr_warmup_ratio": 0.1,
    "l2": 0.01,
    "max_epochs": 2,
    "eval_steps": 16,
}
JUDGE = {
    "apply_chat_template": True,
    "judge_reasoning": True,
    "judge_ties": False,
    "generate_max_len": 24,
    "max_len": 512,
    "train_batch_size": 32,
    "micro_train_batch_size": 256,
    "max_tokens_per_micro_batch": 32768,
    "learning_rate": 3e-3,
    "lr_scheduler": "linear",
    "lr_warmup_ratio": 0.1,
    "l2": 0.01,
    "max_epochs": 10,
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
    "actor_learning_rate": 5e-4,
    "lr_scheduler": "linear",
    "lr_warmup_ratio": 0.0,
    "reward_workers": 1,
    "save_steps": -1,
}
COLOURS = {"green": "red", "blue": "yellow"}
"""What a teacher mistakes for what; likewise WAYS and COURSES."""
WAYS = {"left": "right", "up": "down"}
COURSES = {"falling": "rising", "arching": "steady"}
LESSONS = {
    "image": Lesson(
        "A tiny Qwen2.5-VL of random weights learns colours from a colour-blind teacher, and then by GRPO to see them",
        build_qwen2_5_vl,
        (shape,),
        COLOURS,
        warmup={"max_epochs": 5},
        grpo={"max_steps": 40},
    ),
    "video": Lesson(
        "A tiny Qwen2.5-VL of random weights learns directions from a teacher who mixes them up, and then by GRPO",
        build_qwen2_5_vl,
        (motion,),
        WAYS,
        warmup={"max_epochs": 12},
        grpo={"max_steps": 60},
    ),
    "audio": Lesson(
        "A tiny Qwen2-Audio of random weights learns pitches from a tone-deaf teacher, and then by GRPO to hear them",
        build_qwen2_audio,
        (tone,),
        COURSES,
        warmup={"max_epochs": 12},
        grpo={"max_steps": 100},
    ),
    "mixed": Lesson(
        "A tiny Qwen2.5-Omni of random weights learns from pictures, films and sounds at once, and then by GRPO",
        build_qwen2_5_omni,
        (shape, motion, tone),
        COLOURS | WAYS | COURSES,
        examples=1536,
        riddles=1536,
        warmup={"max_epochs": 16},
        grpo={"max_steps": 80},
    ),
}
