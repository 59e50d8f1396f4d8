"""`lightrft quickstart`: a real model learns to add by GRPO, with everything it needs at hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lightrft_apps.config import parse_rl
from lightrft_apps.config.commands.quickstart import ABOUT, DEFAULTS, HELP, KINDS, MODALITIES, asked_for


def main(argv: Sequence[str]) -> None:
    """Run `lightrft quickstart` with these words."""
    known, others = asked_for(argv)
    prog = f"lightrft quickstart [--reward-model [{{{','.join(KINDS)}}}]] [--modality {{{','.join(MODALITIES)}}}]"
    if known.reward_model:
        from lightrft_apps.quickstart.closed_loop import learn_from_a_reward_model

        learn_from_a_reward_model(known.reward_model, known.modality or "image", others, prog)
        return
    known.modality = known.modality or "text"
    if known.modality != "text":
        from lightrft_apps.quickstart.perceiving import (
            learn_to_perceive,  # imports torch, which --help does not wait for
        )

        learn_to_perceive(known.modality, others, prog)
        return
    config = parse_rl(others, prog=prog, about=HELP, defaults=DEFAULTS)
    sys.stderr.write(ABOUT)
    from lightrft_apps.training.rl import train

    train(config)
