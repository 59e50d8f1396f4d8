"""The configuration and command line of `lightrft report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from lightrft_apps.config.checks.bounds import ONE_OR_MORE, out_of_bounds
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.parse import exit_on_config_error, parse

ABOUT = """\
Write a run as one HTML file to look at: no server, no network, nothing to install where it is read.

It shows the run's curves, where its time and memory went, its whole configuration, and its trajectories: the answers to
a prompt side by side, each token coloured by its advantage, its ratio, the policy's entropy, or the gap between engine
and trainer; what each reward said and why; the images, videos and sounds of the prompts; and the same prompt across
steps. Answers are found by what became of them (cut off, wrong but well-formed, furthest apart) and by their words.
Whatever a model has written is shown as text: nothing of it runs in the page.

Several runs that differ in nothing but their seed are one curve, their mean in a band from the lowest to the highest. A
folder without a run of its own stands for all the runs below it. Every run of lightrft rl writes this page at its end.

examples:
  lightrft report runs/first
  lightrft report runs/seed_1 runs/seed_2 runs/seed_3 --output seeds.html
  lightrft report runs/first --max_trajectories 2000 --open"""

MOST = 10_000
"""Answers that a page carries unless it is told otherwise: it opens in two seconds with them."""


@dataclass(frozen=True)
class PageArgs:
    """The report"""

    runs: tuple[str, ...]
    """folders of runs; may stand first, without the flag"""
    output: str | None = None
    """file to write; default: report.html in the first folder"""
    max_trajectories: int = MOST
    """answers to carry; of more, those to evenly chosen prompts"""
    open: bool = False
    """show it in the browser of this machine"""


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Everything `lightrft report` is told."""

    page: PageArgs


def parse_report(argv: Sequence[str]) -> PageArgs:
    """The checked arguments. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft report"):
        first = list(takewhile(lambda word: not word.startswith("-"), argv))
        words = [*(["--runs"] if first else []), *argv]
        command = parse(ReportCommand, words, prog="lightrft report", about=ABOUT)
        problems = [
            *(f"--runs {run}: there is no such folder" for run in command.page.runs if not _path(run).is_dir()),
            *out_of_bounds(to_flat(command), {"max_trajectories": ONE_OR_MORE}),
        ]
        if not command.page.runs:
            problems.append("--runs names nothing: give it folders of runs, such as runs/first")
        if command.page.output is not None and _path(command.page.output).is_dir():
            problems.append(f"--output {command.page.output} is a folder: name a file in it, such as report.html")
        if problems:
            raise ConfigError(problems)
        return command.page


def _path(place: str) -> Path:
    return Path(place).expanduser()
