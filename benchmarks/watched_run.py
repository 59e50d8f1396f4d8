"""A run of `lightrft rl` that notes how many bytes of tensors are alive in each phase.

    python benchmarks/watched_run.py FILE [flags of lightrft rl]

Under torchrun the first process writes FILE. The first step is left alone, and its metrics say what was resident. In
the second, what PyTorch's allocator hands out and takes back in a phase is added up from the profiler's record of it,
which takes memory of its own; to this come all tensors that are alive when the phase begins, weights in a mapped file
among them.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.distributed.tensor import DTensor
from torch.profiler import ProfilerActivity, profile

from lightrft_apps.config import LearningConfig, ModelArgs, parse_rl
from lightrft_apps.models import loading
from lightrft_apps.recording.recorder import RunRecorder
from lightrft_apps.training import rl as training
from lightrft_core import Group
from lightrft_strategy.placement import memory_in_use


class Watched(RunRecorder):
    """The run's recorder. alive: most bytes of tensors at once, by phase. lengths: tokens of prompts and of answers."""

    alive: ClassVar[dict[str, int]] = {}
    lengths: ClassVar[set[tuple[int, int]]] = set()

    @contextmanager
    def phase(self, name: str, step: int) -> Iterator[None]:
        if step == 1:
            with super().phase(name, step):
                yield
            return
        before = bytes_alive()
        with super().phase(name, step), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            yield
        self.alive[name] = before + grown(record)

    def record(self, step: int, metrics: Mapping[str, float], groups: Sequence[Group]) -> None:
        for group in groups:
            self.lengths.update((len(group.prompt.token_ids or ()), len(each.token_ids)) for each in group.rollouts)
        super().record(step, metrics, groups)


def bytes_alive() -> int:
    """Of all tensors in this process, each piece of memory once."""
    gc.collect()
    sizes: dict[int, int] = {}
    for found in gc.get_objects():
        if issubclass(type(found), torch.Tensor) and not found.is_meta:
            storage = (found.to_local() if isinstance(found, DTensor) else found).untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())


def grown(record: profile) -> int:
    """The most bytes handed out in what was profiled and not yet taken back."""
    assert record.profiler is not None and record.profiler.kineto_results is not None
    noted: list[Any] = record.profiler.kineto_results.events()
    sizes = sorted((event.start_ns(), number, event.nbytes()) for number, event in enumerate(noted) if _tells(event))
    return max(accumulate((size for *_, size in sizes), initial=0))


def _tells(event: Any) -> bool:
    return bool(event.name() == "[memory]")


def main(file: str, *words: str) -> None:
    own: list[int] = []
    load = loading.load_to_hold

    def noted(config: LearningConfig, model: ModelArgs | None = None, **told: Any) -> Any:
        own.append(memory_in_use())
        return load(config, model, **told)

    loading.load_to_hold = noted
    training.RunRecorder = Watched  # type: ignore[attr-defined]
    training.train(parse_rl(words))
    if os.environ.get("RANK", "0") == "0":
        notes = {"program": own[0], "alive": Watched.alive, "lengths": sorted(Watched.lengths)}
        Path(file).write_text(json.dumps(notes))


if __name__ == "__main__":
    main(*sys.argv[1:])
