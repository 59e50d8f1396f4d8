"""What the tests of the loop share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from lightrft_core import BatchSizes, SamplingParams, Schedule, Trainer
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.training.optimiser import OptimiserConfig

from .world import GRPO, SIZES, N, Score, Watched, World, one_winner


@pytest.fixture
def make_trainer(tiny_model, build_group, tmp_path) -> Callable[..., Trainer]:
    """make_trainer(score, algorithm, ...) -> a trainer whose world is its recorder."""

    def make(
        score: Score = one_winner,
        algorithm=GRPO,
        *,
        num_steps: int = 2,
        sizes: BatchSizes = SIZES,
        config: OptimiserConfig | None = None,
        bf16: bool = False,
        **settings: Any,
    ) -> Trainer:
        algorithm = replace(algorithm, shaping=settings.pop("shaping", algorithm.shaping))
        world = World(build_group, tmp_path, score, num_steps)
        optimisers = {"policy": config or OptimiserConfig(1e-2, total_steps=100, weight_decay=0.1)}
        models = {"policy": LanguageActor(tiny_model(1))}
        if algorithm.kl_coef:
            models["reference"] = LanguageActor(tiny_model(1))
        if algorithm.teacher_kl_coef:
            models["teacher"] = LanguageActor(tiny_model(2))
        if algorithm.estimator.critic:
            models["critic"] = LanguageCritic(tiny_model(1))
            optimisers["critic"] = OptimiserConfig(1e-3, total_steps=100)
        times = {field.name: settings.pop(field.name) for field in fields(Schedule) if field.name in settings}
        sizes = replace(sizes, max_epochs=settings.pop("max_epochs", sizes.max_epochs))
        strategy = Watched(models, optimisers, bf16=bf16)
        return Trainer(
            algorithm,
            strategy,
            world,
            world,
            world,
            world,
            SamplingParams(n=N, max_new_tokens=16),
            sizes,
            schedule=Schedule(**times),
            **settings,
        )

    return make
