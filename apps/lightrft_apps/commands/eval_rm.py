"""`lightrft eval-rm`: how far reward models agree with people, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.eval_rm import parse_eval_rm


def main(argv: Sequence[str]) -> None:
    """Run `lightrft eval-rm` with these words."""
    command = parse_eval_rm(argv)
    from lightrft_apps.evaluating.reward_models import (
        evaluate_reward_models,  # imports torch, which --help does not wait for
    )

    evaluate_reward_models(command)
