"""Whether the processes of a run can hold slices of its models' layers, told before any model is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightrft_apps.config import ConfigError, LearningConfig
from lightrft_apps.models import loading

MODELS = ("pretrain", "critic_pretrain", "teacher_pretrain")
"""The flags that name a model which lies on the processes as --tp_size says."""


def require_sliceable_models(config: LearningConfig) -> None:
    """Raise ConfigError, naming flag and numbers, unless --tp_size fits every model; reads their config.json alone."""
    tp_size, sp_size = config.parallel.tp_size, config.parallel.sp_size
    if tp_size == 1:
        return
    from lightrft_strategy.training.slices import require_slices

    flat, problems = config.to_flat(), list[str]()
    for flag in MODELS:
        if flat.get(flag) is None:
            continue
        try:
            found: Any = loading.config_of(replace(config.model, pretrain=flat[flag]))
            require_slices(found, tp_size, sp_size)
        except (OSError, ValueError) as error:
            problems.append(f"--{flag} {flat[flag]} with --tp_size {tp_size}: {error}")
    if problems:
        raise ConfigError(problems)
