"""The engine of another package that --engine_type names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.sections.engine import ENGINES, GROUP
from lightrft_core import Engine
from lightrft_strategy.plugins import ForeignError, load_foreign, origin, refuse_own_name

Opens: TypeAlias = Callable[..., AbstractContextManager[Engine]]
"""Called as lightrft_apps.engines.any_engine.OpenEngine has it."""


def find_engine(engine_type: str) -> Opens | None:
    """What opens engines of another package; None for a type of LightRFT's own.

    Raises ConfigError, naming the package, if it takes a name of LightRFT's own, or cannot be loaded or called.
    """
    try:
        if engine_type in ENGINES:
            refuse_own_name(GROUP, engine_type)
            return None
        loaded: Opens = load_foreign(GROUP, engine_type)
    except ForeignError as error:
        raise ConfigError([f"--engine_type {engine_type}: {error}"]) from error
    if not callable(loaded):
        raise ConfigError([f"--engine_type {engine_type}: {origin(GROUP, engine_type)} cannot be called"])
    return loaded
