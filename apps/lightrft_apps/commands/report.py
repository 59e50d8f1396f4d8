"""`lightrft report`: runs as a page to look at, from the command line."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from lightrft_apps.config import ConfigError
from lightrft_apps.config.commands.report import parse_report
from lightrft_apps.config.reading.parse import exit_on_config_error


def main(argv: Sequence[str]) -> None:
    """Run `lightrft report` with these words."""
    args = parse_report(argv)
    from lightrft_apps.reporting.writing import write_report

    folders = [Path(run).expanduser() for run in args.runs]
    output = Path(args.output).expanduser() if args.output else folders[0] / "report.html"
    with exit_on_config_error("lightrft report"):
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            written = write_report(folders, output, args.max_trajectories)
        except FileNotFoundError as error:
            raise ConfigError([str(error)]) from error
    left_out = f" ({written.left_out} left out: --max_trajectories {args.max_trajectories})" if written.left_out else ""
    sys.stderr.write(f"{written.path}: {written.runs} runs, {written.answers} answers{left_out}\n")
    for unread in written.unread:
        sys.stderr.write(f"left out: {unread}\n")
    if args.open:
        webbrowser.open(output.resolve().as_uri())
