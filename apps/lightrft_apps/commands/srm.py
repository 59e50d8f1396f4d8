"""`lightrft srm`: training of scalar reward models from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config import parse_srm


def main(argv: Sequence[str]) -> None:
    """Run `lightrft srm` with these words."""
    config = parse_srm(argv)
    from lightrft_apps.training.srm import train_reward_model  # imports torch, which --help does not wait for

    train_reward_model(config)
