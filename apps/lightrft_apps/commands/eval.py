"""`lightrft eval`: the accuracy of a model on held-out prompts, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.eval import parse_eval


def main(argv: Sequence[str]) -> None:
    """Run `lightrft eval` with these words."""
    command = parse_eval(argv)
    from lightrft_apps.evaluating.evaluation import evaluate_model  # imports torch, which --help does not wait for

    evaluate_model(command)
