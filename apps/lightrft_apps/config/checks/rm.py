"""Rules across the flags of `lightrft srm`, checked before any model loads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from lightrft_apps.config.checks.effects import Condition, without_effect
from lightrft_apps.config.checks.parallel import IN_SLICES
from lightrft_apps.config.checks.preferences import preference_problems
from lightrft_apps.config.checks.supervised import supervised_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.rm import RMConfig, heads_of
from lightrft_apps.config.sections.reward_model import SCORE

NAME = re.compile(r"[A-Za-z_][\w-]*")
"""Of a head: it stands in metrics between slashes, and in a checkpoint between dots."""

OPTIONS = {
    "margin": ("sigmoid",),
    "label_smoothing": ("sigmoid",),
    "loss_temperature": ("hps",),
    "tie_share": ("davidson", "rao_kupper"),
    "huber_delta": ("regression",),
}
"""Each option of a loss with the losses that it is for."""


def require_valid_rm(config: RMConfig) -> None:
    """Raise ConfigError with everything `check_rm` finds."""
    problems = check_rm(config)
    if problems:
        raise ConfigError(problems)


def check_rm(config: RMConfig) -> list[str]:
    """Everything that would stop or spoil the run, a line each; empty if there is nothing."""
    padded = replace(
        config,
        train=replace(config.train, packing_samples=False, aux_loss_coef=0.0),
        parallel=replace(config.parallel, sp_size=1, ring_attn_size=1),
    )
    return [
        *_refused(config),
        *supervised_problems(padded),
        *preference_problems(config, config.data),
        *_scores(config),
    ]


def _refused(config: RMConfig) -> Iterator[str]:
    """What other commands can do and this one cannot."""
    if config.train.packing_samples:
        yield (
            "--packing_samples: a reward model reads padded rows, sorted by length so that little is padded: "
            "leave --packing_samples out"
        )
    for name in IN_SLICES:
        if getattr(config.parallel, name) != 1:
            yield (
                f"--{name} {getattr(config.parallel, name)}: only packed rows are cut into slices, and a reward model "
                f"reads padded ones: leave --{name} out"
            )
    if config.train.aux_loss_coef != 0:
        yield (
            f"--aux_loss_coef {config.train.aux_loss_coef:g}: the loss of a reward model does not look at routers: "
            "leave --aux_loss_coef out"
        )


def _scores(config: RMConfig) -> Iterator[str]:
    args, heads = config.scores, heads_of(config.scores)
    if not all(map(NAME.fullmatch, heads)) or len({*heads}) < len(heads):
        yield (
            f"--heads {args.heads}: give each head a name of its own, of letters, digits, - and _, separated by "
            "commas, such as helpful,safe"
        )
    if not NAME.fullmatch(args.value_prefix_head):
        yield f"--value_prefix_head {args.value_prefix_head}: give a name of letters, digits, - and _, such as score"
    if args.loss_type == "steps" and heads != (SCORE,):
        yield f"--heads {args.heads}: steps are judged by one head: leave --heads out, or --loss_type steps"
    if not args.step_separator:
        yield "--step_separator: name what stands between two steps, such as a line break"
    yield from without_effect(config, _of_losses(args.loss_type))


def _of_losses(loss_type: str) -> Iterator[Condition]:
    for option, losses in OPTIONS.items():
        yield (option,), loss_type in losses, f"set --loss_type {' or '.join(losses)}"
    yield ("placeholder_token", "step_separator"), loss_type == "steps", "set --loss_type steps"
    yield ("chosen_key", "rejected_key"), loss_type != "steps", "solutions in steps are not compared"
