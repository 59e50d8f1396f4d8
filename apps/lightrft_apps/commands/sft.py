"""`lightrft sft`: supervised fine-tuning from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config import parse_sft


def main(argv: Sequence[str]) -> None:
    """Run `lightrft sft` with these words."""
    config = parse_sft(argv)
    from lightrft_apps.training.sft import tune  # imports torch, which --help does not wait for

    tune(config)
