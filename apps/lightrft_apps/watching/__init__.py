"""A run looked at while it goes: what its folder says, as a picture of the terminal's size, again and again."""

from __future__ import annotations

import time
from contextlib import suppress

from rich.console import Console
from rich.live import Live

from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.watching.frame import frame
from lightrft_apps.watching.readings import Readings

__all__ = ["watch"]


def watch(run: RunDirectory, *, once: bool, interval: float) -> None:
    """Show the run until it is done or Ctrl-C is pressed, then leave the last picture on the terminal.

    interval: seconds between two looks.
    """
    console, readings = Console(highlight=False), Readings(run)
    if not once and console.is_terminal:
        with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
            while not (seen := readings.read()).finished:
                live.update(frame(seen, console.width), refresh=True)
                time.sleep(interval)
    console.print(frame(readings.read(), console.width))
