"""`lightrft rl`: reinforcement fine-tuning from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config import parse_rl


def main(argv: Sequence[str]) -> None:
    """Run `lightrft rl` with these words."""
    config = parse_rl(argv)
    from lightrft_apps.training.rl import train  # imports torch, which --help does not wait for

    train(config)
