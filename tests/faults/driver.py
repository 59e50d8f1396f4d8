"""The lightrft command, killed as by SIGKILL at a precise moment: ``python driver.py MOMENT COUNT -- rl --flag ...``.

MOMENT is one of MOMENTS and COUNT says at which of its occurrences to die, 1 being the first. Nothing of the run is
replaced: each function below does what it always does until its time has come.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch
from transformers import LlamaForCausalLM

import lightrft_apps.main
import lightrft_apps.recording.recorder
import lightrft_apps.training.rl
import lightrft_rewards.journal
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.recorder import RunRecorder
from lightrft_rewards.journal import Journal
from lightrft_rewards.pool import RewardPool
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.training import TorchStrategy, checkpoint


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(
    owner: Any,
    name: str,
    *,
    first: Callable[..., Any] | None = None,
    only: Callable[..., bool] = lambda *args, **kwargs: True,
) -> Callable[[int], None]:
    """Arm a death at the count-th call of owner.name for which `only` holds.

    first: what still happens before it, given the call's arguments; None: nothing.
    """

    def arm(count: int) -> None:
        original, calls = getattr(owner, name), itertools.count(1)

        @functools.wraps(original)
        def armed(*args: Any, **kwargs: Any) -> Any:
            if only(*args, **kwargs) and next(calls) == count:
                if first is not None:
                    first(*args, **kwargs)
                die()
            return original(*args, **kwargs)

        setattr(owner, name, armed)

    return arm


def after_call(owner: Any, name: str) -> Callable[[int], None]:
    """Arm a death right after the count-th call of owner.name."""
    return at_call(owner, name, first=getattr(owner, name))


def at_rename(pattern: str, name: str = "rename") -> Callable[[int], None]:
    """Arm a death right before the count-th time that something is given a name of this pattern."""
    return at_call(Path, name, only=lambda _, target: bool(re.fullmatch(pattern, Path(target).name)))


def tear_journal(journal: Journal, entries: Any) -> None:
    """Write all of the entries' lines but the last half of the last one."""
    content = b"".join(map(lightrft_rewards.journal._line, entries))
    with journal.path.open("ab") as file:
        file.write(content[:-40])


def tear_line(recorder: RunRecorder, step: int, metrics: Any, groups: Any) -> None:
    """Do all that recording a step does, then take the end of its line away."""
    record(recorder, step, metrics, groups)
    content = recorder.run.metrics.read_bytes()
    os.truncate(recorder.run.metrics, len(content) - 50)


def tear_weights(path: Path, tensors: Any) -> None:
    """Write half a safetensors file."""
    write_tensors(path, tensors)
    os.truncate(path, path.stat().st_size // 2)


def tear_parquet(table: Any, path: Path, *, row_group_size: int) -> None:
    """Write half a Parquet file."""
    write_table(table, path, row_group_size=row_group_size)
    os.truncate(path, path.stat().st_size // 2)


def delete_half(folder: Path, *args: Any, **kwargs: Any) -> None:
    """Remove one of a doomed checkpoint's files."""
    (folder / "trainer.json").unlink()


record, write_tensors, write_table = RunRecorder.record, checkpoint.write_tensor_file, pyarrow.parquet.write_table

MOMENTS = {
    "naming config.yaml": at_rename(r"config\.yaml", "replace"),
    "between two sampled tokens": at_call(EmbeddedEngine, "_decode_step"),
    "while a worker judges": after_call(RewardPool, "_assign"),
    "in a line of the journal": at_call(Journal, "add", first=tear_journal, only=lambda _, entries: bool(entries)),
    "before an optimiser step": at_call(torch.optim.AdamW, "step"),
    "after an optimiser step": after_call(torch.optim.AdamW, "step"),
    "in the trajectories": at_call(pyarrow.parquet, "write_table", first=tear_parquet),
    "in a line of the metrics": at_call(RunRecorder, "record", first=tear_line),
    "between line and checkpoint": at_call(RunRecorder, "checkpoint"),
    "in the weights of a checkpoint": at_call(checkpoint, "write_tensor_file", first=tear_weights),
    "after the weights of a checkpoint": after_call(TorchStrategy, "save"),
    "naming a checkpoint": at_rename(r"step_\d+"),
    "dooming an old checkpoint": at_rename(r"step_\d+\.unfinished"),
    "removing an old checkpoint": at_call(
        shutil, "rmtree", first=delete_half, only=lambda path, **_: (Path(path) / "trainer.json").exists()
    ),
    "rewinding the metrics": at_rename(r"metrics\.jsonl"),
    "after rewinding": after_call(RunDirectory, "rewind"),
    "in the final export": after_call(LlamaForCausalLM, "save_pretrained"),
    "naming the final export": at_rename("final"),
    "before the summary": at_call(lightrft_apps.training.rl, "write_summary"),
    "naming the summary": at_rename(r"summary\.json"),
}


def main(moment: str, count: int, words: list[str]) -> None:
    """The command `lightrft WORDS`, killed at that moment; "never" lets it live."""
    if moment != "never":
        MOMENTS[moment](count)
    sys.argv = ["lightrft", *words]
    lightrft_apps.main.main()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[sys.argv.index("--") + 1 :])
