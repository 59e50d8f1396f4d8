"""As much of Ray as examples/launch/ray_train.py asks for, on this machine: an actor is an object, a call a thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

_threads = ThreadPoolExecutor(32)


def init() -> None:
    """There is nothing to connect to."""


def get(reference: Any) -> Any:
    return [get(each) for each in reference] if isinstance(reference, list) else reference.result()


def wait(references: list[Future[Any]], *, num_returns: int = 1, timeout: float = 1e9) -> tuple[list[Any], list[Any]]:
    deadline = time.monotonic() + timeout
    while sum(each.done() for each in references) < num_returns and time.monotonic() < deadline:
        time.sleep(0.05)
    ready = [each for each in references if each.done()][:num_returns]
    return ready, [each for each in references if each not in ready]


def remote(cls: Callable[[], Any]) -> Any:
    def options(*, max_concurrency: int, scheduling_strategy: Any, num_cpus: int) -> Any:
        assert scheduling_strategy.placement_group.bundles[scheduling_strategy.bundle] == {"CPU": num_cpus}
        return SimpleNamespace(remote=lambda: _Actor(cls()))

    return SimpleNamespace(options=options)


class _Actor:
    def __init__(self, of: Any) -> None:
        self._of = of

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda *args: _threads.submit(getattr(self._of, method), *args))
