"""The configuration and command line of `lightrft watch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightrft_apps.config.checks.bounds import ABOVE_ZERO, out_of_bounds
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.leading import named
from lightrft_apps.config.reading.parse import exit_on_config_error, parse

PROG = "lightrft watch"
ABOUT = """\
Look at a run while it goes, from any terminal that sees its folder: how far it is and when it will be done, what each
process does and for how long, the curves of reward, accuracy, length, entropy, divergence and gradient, where time and
memory go, what was warned of, and an answer of the newest step.

It only reads. It follows a run that is stopped and started again, and ends when the run does; Ctrl-C ends it before.
Where its output is no terminal it prints what there is to see, once.

examples:
  lightrft watch runs/first
  lightrft watch runs/first --once"""


@dataclass(frozen=True)
class WatchArgs:
    """What to look at"""

    run: str
    """a run's folder; may stand first, without its flag"""
    once: bool = False
    """print what there is to see now, and end"""
    interval: float = 1.0
    """seconds between two looks"""


@dataclass(frozen=True, kw_only=True)
class WatchCommand:
    """Everything `lightrft watch` is told."""

    watch: WatchArgs


def parse_watch(argv: Sequence[str]) -> WatchArgs:
    """The checked arguments. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error(PROG):
        command = parse(WatchCommand, named(argv, "run"), prog=PROG, about=ABOUT)
        problems = [*out_of_bounds(to_flat(command), {"interval": ABOVE_ZERO})]
        folder = Path(command.watch.run).expanduser()
        if not (folder / "config.yaml").is_file():
            problems.append(f"--run {command.watch.run}: no run lies there (it has no config.yaml)")
        if problems:
            raise ConfigError(problems)
        return command.watch
