"""The checkpoint that is read of a run where a person has named none of them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from lightrft_apps.config import ConfigError
from lightrft_apps.recording.directory import RunDirectory
from lightrft_strategy.checkpoints import newest_whole


def newest_of(run: RunDirectory, none_whole: str) -> Path:
    """The newest checkpoint whose every byte is as it was written; of newer ones stderr names a file that is not.

    Nothing is moved or removed. Raises ConfigError with `none_whole` and the names of the files if no one is whole.
    """
    console = Console(stderr=True, highlight=False)
    with console.status("comparing the newest checkpoint with its checksums"):
        newest, faults = newest_whole(run.checkpoints, checksums=True)
    if newest is None:
        raise ConfigError([none_whole, *faults])
    for fault in faults:
        console.print(f"[yellow]warning:[/yellow] {escape(fault)}: {newest.name} is read instead", soft_wrap=True)
    return newest
