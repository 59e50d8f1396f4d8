"""The engine that --engine_type names: one of LightRFT's own, or another package's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from lightrft_apps.config import ConfigError, EngineArgs, ModelArgs
from lightrft_apps.config.any_engine import find_engine
from lightrft_apps.config.sections.engine import GROUP
from lightrft_apps.engines import own
from lightrft_apps.engines.own import EngineNeeds
from lightrft_apps.models.parallel import Together
from lightrft_apps.models.senses import Senses
from lightrft_core import Engine
from lightrft_strategy.plugins import origin


class OpenEngine(Protocol):
    """What an entry point of the group lightrft.engines stands for: opens an engine, which ends with the block.

    args: all flags of engines, to be heeded or not. of, model: --pretrain and the model itself, which is in training.
    senses: its tokenizer. progress: to be called with the number of answers finished since the last call. say: tells
    the person something. What is raised as ConfigError is told without a traceback.
    """

    def __call__(
        self,
        args: EngineArgs,
        of: ModelArgs,
        model: Any,
        senses: Senses,
        needs: EngineNeeds,
        *,
        progress: Callable[[int], None],
        say: Callable[[str], None],
    ) -> AbstractContextManager[Engine]: ...


def open_engine(
    args: EngineArgs,
    of: ModelArgs,
    model: Any,
    senses: Senses,
    needs: EngineNeeds,
    *,
    progress: Callable[[int], None],
    say: Callable[[str], None],
    together: Together | None = None,
) -> AbstractContextManager[Engine]:
    """An engine that samples from `model`, which may be in training; it ends with the block.

    together: as for own.open_engine. Raises ConfigError as that does, and if another package's engine cannot be
    opened.
    """
    foreign: OpenEngine | None = find_engine(args.engine_type)
    if foreign is None:
        return own.open_engine(args, of, model, senses, needs, progress=progress, say=say, together=together)
    opened = foreign(args, of, model, senses, needs, progress=progress, say=say)
    if not isinstance(opened, AbstractContextManager):
        raise ConfigError([f"--engine_type {args.engine_type}: {origin(GROUP, args.engine_type)} opens no context"])
    return opened
