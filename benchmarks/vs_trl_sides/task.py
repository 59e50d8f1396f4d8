"""What both sides are given: model, prompts, reward, lengths, optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vs_trl_sides import rewards

ROOT = Path(__file__).resolve().parents[2]
LEARNING_RATE, BETAS, EPS, MAX_NORM = 2e-5, (0.9, 0.95), 1e-8, 1.0
SYSTEM = "Answer with a number."
EXTRA = 2
"""Steps a side is configured for beyond those that count: one to warm up, and one that never runs."""


@dataclass(frozen=True)
class Shape:
    """prompts x samples answers a step, of at most so many tokens. micro: sequences in a micro-batch, by side."""

    prompts: int
    samples: int
    answer: int
    trl_micro: int
    lightrft_tokens: int

    @property
    def answers(self) -> int:
        return self.prompts * self.samples


SHAPES = {
    "4x4": Shape(4, 4, 64, trl_micro=16, lightrft_tokens=2048),
    "16x8": Shape(16, 8, 64, trl_micro=32, lightrft_tokens=2048),
}


def recipe(shape: Shape, reward: str, seed: int, steps: int, output_dir: str) -> dict[str, Any]:
    """The run in LightRFT's flags; what TRL is told is derived from the same constants."""
    return {
        "pretrain": "smollm2",
        "bf16": True,
        "prompt_data": str(ROOT / "examples/data/sums_train.jsonl"),
        "input_key": "problem",
        "label_key": "answer",
        "apply_chat_template": True,
        "system_prompt": SYSTEM,
        "reward_fn": f"{Path(rewards.__file__)}:{reward}",
        "rollout_batch_size": shape.prompts,
        "n_samples_per_prompt": shape.samples,
        "generate_max_len": shape.answer,
        "temperature": 1.0,
        "algorithm": "grpo",
        "init_kl_coef": 0.0,
        "actor_learning_rate": LEARNING_RATE,
        "lr_scheduler": "constant",
        "lr_warmup_ratio": 0.0,
        "adam_betas": BETAS,
        "adam_eps": EPS,
        "l2": 0.0,
        "max_norm": MAX_NORM,
        "max_steps": steps + EXTRA,
        "num_episodes": 100,
        "micro_train_batch_size": shape.answers,
        "max_tokens_per_micro_batch": shape.lightrft_tokens,
        "packing_samples": True,
        "seed": seed,
        "output_dir": output_dir,
        "progress": False,
    }
