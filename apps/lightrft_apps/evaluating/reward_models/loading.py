"""Reward models as what comparisons are judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch

from lightrft_apps.config import ConfigError
from lightrft_apps.config.commands.eval_rm import EvalRMCommand
from lightrft_apps.evaluating.reward_models.asking import judged_by_asking
from lightrft_apps.evaluating.reward_models.scoring import judged_by
from lightrft_apps.rewards.reward_models import Opening, open_reward_model
from lightrft_rewards.evaluation import JudgedComparison
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_rewards.preferences import Comparison
from lightrft_strategy.devices import device

Kind: TypeAlias = Literal["scalar", "generative"]
Judging: TypeAlias = Callable[
    [Sequence[Comparison], Mapping[str, str], Callable[[int], None]], Sequence[JudgedComparison]
]
"""(comparisons, label -> head, what is told how many more are judged) -> all of them judged."""


@dataclass(frozen=True)
class Candidate:
    """A reward model that is evaluated. heads: what it judges."""

    kind: Kind
    heads: tuple[str, ...]
    judge: Judging


def load_candidate(command: EvalRMCommand, name: str, folder: str, engines: ExitStack) -> Candidate:
    """A model on this process's device; one with a judge.json is asked, any other gives scores.

    engines: ends the engine that a judge has. Raises ConfigError if it cannot be loaded, or judges steps.
    """
    args = command.models
    how = Opening(
        dtype=torch.bfloat16 if args.bf16 else torch.float32,
        max_len=args.reward_max_len,
        token_budget=args.reward_token_budget,
        value_prefix_head=args.value_prefix_head,
        media_urls=command.data.media_urls,
        attn_implementation=args.attn_implementation,
        trust_remote_code=args.trust_remote_code,
    )
    opened = open_reward_model(name, folder, how, engines)
    if not isinstance(opened, ModelScorer):
        opened.model.to(device())
        judge = partial(judged_by_asking, opened.engine, opened.writer)
        return Candidate("generative", opened.writer.form.heads, judge)
    if opened.card.process:
        raise ConfigError(
            [f"--reward_pretrain {folder} judges the steps of answers, and comparisons are of whole ones"]
        )
    opened.module.to(device())
    return Candidate("scalar", opened.module.heads, partial(judged_by, opened))
