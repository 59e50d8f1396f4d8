"""`lightrft compare`: several algorithms on one task, several seeds each, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.compare import parse_compare


def main(argv: Sequence[str]) -> None:
    """Run `lightrft compare` with these words. Raises SystemExit with code 1 if a run failed."""
    command, runs = parse_compare(argv)
    from lightrft_apps.comparison import compare

    if compare(command, runs)["missing"]:
        raise SystemExit(1)
