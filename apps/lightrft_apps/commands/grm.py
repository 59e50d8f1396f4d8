"""`lightrft grm`: training of generative reward models from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config import parse_grm


def main(argv: Sequence[str]) -> None:
    """Run `lightrft grm` with these words."""
    config = parse_grm(argv)
    from lightrft_apps.training.grm import train_judge  # imports torch, which --help does not wait for

    train_judge(config)
