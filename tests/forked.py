"""Processes without the wait: forked from one that has imported everything, each is like one that has just started."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PRELOAD = [
    "pytest",
    "hypothesis",
    "lightrft_apps.main",
    "lightrft_apps.training.rl",
    "lightrft_strategy.engines.sync.published",
    "transformers.models.llama.modeling_llama",
    "torch.distributed.checkpoint",
    "pandas",
    "deepspeed",
]


def start(function: Callable[..., None], *args: Any) -> ForkServerProcess:
    """A process that calls function(*args): a function of a test module, arguments that can be pickled."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=function, args=args, daemon=True)
    sys.path.insert(0, str(ROOT))
    try:
        process.start()
    finally:
        sys.path.remove(str(ROOT))
    return process


def a_pipe(*, duplex: bool = True) -> tuple[Connection, Connection]:
    """Two ends of a pipe, of which `start` can hand one on; without duplex the first reads and the second writes."""
    return multiprocessing.get_context("forkserver").Pipe(duplex)
