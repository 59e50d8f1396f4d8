"""`lightrft watch`: a run's terminal view, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightrft_apps.config.commands.watch import parse_watch


def main(argv: Sequence[str]) -> None:
    """Run `lightrft watch` with these words."""
    args = parse_watch(argv)
    from lightrft_apps.recording.directory import RunDirectory
    from lightrft_apps.watching import watch

    watch(RunDirectory(Path(args.run).expanduser()), once=args.once, interval=args.interval)
