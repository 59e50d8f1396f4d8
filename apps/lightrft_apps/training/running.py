"""A run in its directory, whatever it trains: begun, gone on with, or found finished."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from typing import Any

from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps.config import (
    COMMANDS,
    LearningConfig,
    RunConfig,
    chosen_trackers,
    differences,
    stored_config,
    too_late,
)
from lightrft_apps.models.parallel import Together, by_the_first, several
from lightrft_apps.models.slicing import require_sliceable_models
from lightrft_apps.recording.directory import RunDirectory, RunDirectoryError, open_run
from lightrft_apps.recording.environment import environment
from lightrft_apps.recording.summary import read_summary
from lightrft_apps.recording.trackers import open_trackers
from lightrft_strategy.checkpoints import clear_leftovers, newest_whole, prune_checkpoints
from lightrft_strategy.devices import keep_freed_memory


def in_its_directory(
    config: RunConfig,
    go: Callable[[RunDirectory, Together], None],
    show: Callable[[Mapping[str, Any], Path], None],
) -> dict[str, Any]:
    """Let `go` train, or go on training, in config.run.output_dir, unless that is done; then show the summary.

    Returns what summary.json holds. Raises RunDirectoryError, ConfigError and whatever `go` raises.
    """
    keep_freed_memory()
    hide_progress_bars()
    path = Path(config.run.output_dir).expanduser()
    require_sliceable_models(config)

    def differ(path: Path) -> dict[str, tuple[Any, Any]]:
        stored = stored_config(path)
        if type(stored) is not type(config):
            raise RunDirectoryError(
                f"{path.parent} holds a run of lightrft {COMMANDS[type(stored)]}: choose another --output_dir"
            )
        return differences(stored.to_flat(), config.to_flat())

    with several(config.parallel) as together, ExitStack() as stack:

        def open_it() -> bool:
            run, resuming = open_run(path, differ)
            stack.callback(run.close)
            rmtree(run.heartbeats, ignore_errors=True)
            if not resuming:
                config.save(run.config, environment())
            return run.summary.exists()

        finished, run = by_the_first(together.ranks, open_it), RunDirectory(path)
        if not finished:
            together.keep(run.heartbeats, config.parallel)
            go(run, together)
        elif together.first:
            for warning in too_late(stored_config(run.config).to_flat(), config.to_flat(), path):
                sys.stderr.write(f"warning: {warning}\n")
            _track_late(config, run)
        summary = read_summary(run.summary)
        if together.first:
            show(summary, run.path)
        return summary


def _track_late(config: RunConfig, run: RunDirectory) -> None:
    """Write a finished run for trackers if it is newly given some."""
    if {*chosen_trackers(config.tracking)} - {*chosen_trackers(stored_config(run.config).tracking)}:
        with open_trackers(config, run, lambda what: _say(f"warning: {what}")):
            _say(f"{run.path} is finished: its numbers go to {' and '.join(chosen_trackers(config.tracking))}")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def rewound(config: LearningConfig, run: RunDirectory, together: Together) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from, None for none, and a line on each damaged one; what came after is forgotten.

    Every rank calls it and reads its share of every byte. Raises RunDirectoryError, naming the files, if there are
    checkpoints and none is whole; none is removed then.
    """
    by_the_first(together.ranks, lambda: clear_leftovers(run.checkpoints))
    newest, faults = newest_whole(run.checkpoints, checksums=True, ranks=together.ranks)

    def rewind() -> list[str]:
        if newest is None and faults:
            raise RunDirectoryError(_none_whole(run.checkpoints, faults))
        aside, keep, max_bytes = run.rewind(newest), config.run.max_ckpt_num, bytes_for_checkpoints(config)
        prune_checkpoints(run.checkpoints, keep=keep, max_bytes=max_bytes, best=run.best(), count_aside=False)
        done = "" if newest is None else f"this run goes on from {newest.name}, and the damaged one is kept as"
        until = "" if max_bytes is None else ", while --max_ckpt_mem has room for it"
        return [f"{fault}: {done} {path.name}{until}" for fault, path in zip(faults, aside, strict=True)]

    return newest, by_the_first(together.ranks, rewind)


def _none_whole(folder: Path, faults: Sequence[str]) -> str:
    listing = "\n".join(f"  {fault}" for fault in faults)
    return f"no checkpoint in {folder} is whole:\n{listing}\nPut the files back, or remove {folder} to begin again."


def bytes_for_checkpoints(config: LearningConfig) -> float | None:
    """What --max_ckpt_mem allows, None for any."""
    return config.run.max_ckpt_mem and config.run.max_ckpt_mem * 1e9
