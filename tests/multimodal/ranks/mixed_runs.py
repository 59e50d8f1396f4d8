"""Runs on recorded rollouts of texts, pictures, films and sounds in random order; ranks call these."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy
import torch
from torch import Tensor
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import rotate_half

from lightrft_core import (
    ALGORITHMS,
    Batch,
    BatchSizes,
    FinishReason,
    Group,
    Media,
    OneRank,
    Prompt,
    Rollout,
    Verdict,
)
from lightrft_core.experience import make_experience
from lightrft_multimodal.adapters import MediaAdapter, load_adapter
from lightrft_strategy.freezing import freeze
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.reading import Reader
from lightrft_strategy.training import FullyShard, Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole
from lightrft_strategy.training.full import full
from lightrft_strategy.training.zero import Zero

from ...strategy.training.recorded import Outcome, exactly, step
from ..conformance.prompts import Clip, Picture, Sound, asked

CONFIG = OptimiserConfig(1e-3, 60, "cosine", warmup_ratio=0.1, weight_decay=0.1)
HOLDS: dict[str, Hold] = {
    "one": Whole,
    "ddp": Whole,
    "fsdp2": FullyShard(),
    "slices": FullyShard(tp_size=2),
    "zero 2": Zero(2),
    "zero 3": Zero(3, persistence_threshold=0),
}
KINDS = ("text", "image", "three images", "video", "audio")
OF_EACH = 2
"""Different prompts of each kind."""


@dataclass(frozen=True)
class Case:
    """What is trained, and how. folder: of the model. every_tower: None: where ranks hold shards.

    frozen: how the names of weights begin that are left alone.
    """

    folder: str
    hold: str = "one"
    dtype: str = "float64"
    packing: bool = False
    every_tower: bool | None = None
    frozen: tuple[str, ...] = ()
    checkpointing: bool = False
    optimiser_steps: int = 50


@dataclass(frozen=True)
class Run:
    """state: masters and moments after the first step and after all, whole.

    without_media, empty: of this rank's micro-batches, those that show and play nothing, and those without a sequence.
    """

    losses: list[float]
    norms: list[float]
    first: dict[str, numpy.ndarray]
    last: dict[str, numpy.ndarray]
    micro_batches: int
    without_media: int
    empty: int
    seconds: float


@cache
def adapter_of(folder: str) -> MediaAdapter:
    adapter = load_adapter(folder)
    assert adapter is not None
    return adapter


@cache
def prompts(folder: str) -> dict[str, list[Prompt]]:
    """Of each kind some, encoded."""
    return {kind: [_prompt(folder, kind, number) for number in range(OF_EACH)] for kind in KINDS}


def _prompt(folder: str, kind: str, number: int) -> Prompt:
    seed = 10 * number
    parts: dict[str, tuple[str | Media, ...]] = {
        "text": ("What is " + "more " * (1 + number) + "than this?",),
        "image": (Picture(seed, 20 + 7 * number, 15), "What is it?"),
        "three images": ("Of", Picture(seed + 1, 12, 9), Picture(seed + 2, 24, 24), "and", Picture(seed + 1, 12, 9)),
        "video": (Clip(seed, 4 + 2 * number, 16, 12), "What happens?"),
        "audio": ("Who speaks?", Sound(seed, 6000 + 5000 * number)),
    }
    told = asked(*parts[kind])
    text, ids = adapter_of(folder).encode(told.messages, told.media)
    return Prompt(kind, told.messages, text, ids, media=told.media)


def recorded(folder: str, number: int) -> list[Group]:
    """Four judged groups of four answers to prompts of kinds in random order; the answers of some teach nothing."""
    rng, groups = random.Random(number), []
    never, vocabulary = set(adapter_of(folder).placeholders), len(adapter_of(folder).tokenizer)
    words = [word for word in range(vocabulary) if word not in never]
    for row in range(4):
        prompt = rng.choice(prompts(folder)[rng.choice(KINDS)])
        rewards = [1.0] * 4 if rng.random() < 0.15 else [1.0, 0.0, rng.random(), rng.random()]
        answers = [[rng.choice(words) for _ in range(rng.choice([1, 2, 3, 5, 8]))] for _ in rewards]
        rollouts = [
            Rollout(
                sample,
                answer,
                [-rng.random() * 6 for _ in answer],
                [True] * len(answer),
                FinishReason.STOP,
                "",
                Verdict(reward),
                reward,
            )
            for sample, (answer, reward) in enumerate(zip(answers, rewards, strict=True))
        ]
        groups.append(Group(replace(prompt, uid=f"{number}.{row}"), rollouts))
    return groups


def build(case: Case) -> TorchStrategy:
    """The strategy of a case, on one process or on all: what learns, and what it was as its reference."""
    sharded = case.hold not in ("one", "ddp")
    reader = Reader(adapter_of(case.folder), every_tower=sharded if case.every_tower is None else case.every_tower)
    policy, reference = (LanguageActor(model(case), reader=reader, packing=case.packing) for _ in range(2))
    if case.frozen:
        freeze(policy.model, case.frozen)
    return TorchStrategy(
        {"policy": policy, "reference": reference},
        {"policy": CONFIG},
        hold=HOLDS[case.hold],
        ranks=OneRank() if case.hold == "one" else TorchRanks(2 if case.hold == "slices" else 1),
    )


def model(case: Case) -> Any:
    made = exactly(adapter_of(case.folder).load_model(case.folder), getattr(torch, case.dtype))
    if case.checkpointing:
        made.gradient_checkpointing_enable()
        made.train()
    return made


def rotated(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """The vision tower's rotary positions in the precision of what they turn: transformers rounds it to float32."""
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    turned = query * cos + rotate_half(query) * sin, key * cos + rotate_half(key) * sin
    return turned[0].to(query.dtype), turned[1].to(key.dtype)


@patch.object(modeling_qwen2_5_omni, "apply_rotary_pos_emb_vision", rotated)
def train(case: Case) -> Run:
    """Optimiser steps of 5, 5, 5 and 1 rollouts over each batch of 16, dealt as training deals them."""
    began = time.perf_counter()
    strategy, algorithm, outcome = build(case), ALGORITHMS["grpo"], Outcome([], [], {}, [])
    sizes = BatchSizes(5, 2, 150, 8, packing=case.packing)
    batches: list[Batch] = []
    first: dict[str, numpy.ndarray] = {}
    number = 0
    while len(outcome.losses) < case.optimiser_steps:
        for each in make_experience(recorded(case.folder, number), algorithm, strategy, sizes)[0]:
            if len(outcome.losses) < case.optimiser_steps:
                step(strategy, each, algorithm.losses(), outcome)
                first = first or state(strategy)
                batches += each
        number += 1
    quiet = [batch for batch in batches if not any(batch.media)]
    return Run(
        outcome.losses,
        outcome.norms,
        first,
        state(strategy),
        len(batches),
        len(quiet),
        sum(not batch.loss_mask.any() for batch in batches),
        time.perf_counter() - began,
    )


def state(strategy: TorchStrategy) -> dict[str, numpy.ndarray]:
    """Masters and moments, whole."""
    held = strategy.held["policy"]
    return {name: full(tensor).detach().clone().cpu().numpy() for name, tensor in held.state().items()}
