"""Reward models from their folders, ready to judge: scalar ones, and judges that write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import torch

from lightrft_apps import compose
from lightrft_apps.config import ConfigError, ModelArgs
from lightrft_apps.config.eval_rm_command import EvalRMCommand
from lightrft_apps.rm_evaluation.asking import judged_by_asking
from lightrft_apps.rm_evaluation.scoring import judged_by
from lightrft_rewards.evaluation import JudgedComparison
from lightrft_rewards.models.judges import JudgeForm, JudgeWriter
from lightrft_rewards.models.loading import load_reward_model
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_rewards.models.writing import Writer
from lightrft_rewards.preferences import Comparison
from lightrft_strategy.devices import device
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.generation import end_tokens
from lightrft_strategy.reading import Reader
from lightrft_strategy.training.optimiser import set_precision

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


def load_candidate(command: EvalRMCommand, name: str, folder: str) -> Candidate:
    """A model on this process's device; one with a judge.json is asked, any other gives scores.

    Raises ConfigError if it cannot be loaded.
    """
    try:
        files = compose.model_files(folder)
        form = JudgeForm.read(files)
        return _scalar(command, name, files) if form is None else _generative(command, files, form)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError([f"--reward_pretrain {folder} cannot be loaded: {error}"]) from error


def _scalar(command: EvalRMCommand, name: str, folder: str) -> Candidate:
    args = command.models
    loaded = load_reward_model(
        folder,
        dtype=torch.bfloat16 if args.bf16 else torch.float32,
        attn_implementation=args.attn_implementation,
        trust_remote_code=args.trust_remote_code,
        value_prefix_head=args.value_prefix_head,
    )
    if loaded.card.process:
        raise ConfigError(
            [f"--reward_pretrain {folder} judges the steps of answers, and comparisons are of whole ones"]
        )
    writer = Writer(
        loaded.tokenizer,
        loaded.encoder(),
        apply_chat_template=loaded.card.apply_chat_template,
        max_len=args.reward_max_len or loaded.card.max_len,
        max_len_flag="--reward_max_len",
        media_urls=command.data.media_urls,
    )
    module = loaded.model.to(device())
    scorer = ModelScorer(module, writer, loaded.card, name=name, token_budget=args.reward_token_budget)
    return Candidate("scalar", module.heads, partial(judged_by, scorer))


def _generative(command: EvalRMCommand, folder: str, form: JudgeForm) -> Candidate:
    args = command.models
    of = ModelArgs(
        folder,
        bf16=args.bf16,
        attn_implementation=args.attn_implementation,
        trust_remote_code=args.trust_remote_code,
    )
    senses = compose.load_senses(of)
    form = replace(form, max_len=args.reward_max_len or form.max_len)
    writer = JudgeWriter(senses.tokenizer, senses.encoder, form, media_urls=command.data.media_urls)
    model = compose.load_model(of).to(device()).eval()
    set_precision(model, torch.bfloat16 if args.bf16 else torch.float32)

    def decode(rows: list[list[int]]) -> list[str]:
        texts: list[str] = senses.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return texts

    ends = end_tokens(model, senses.tokenizer)
    engine = EmbeddedEngine(model, decode, eos_token_ids=ends, seed=0, reader=Reader(senses.adapter))
    return Candidate("generative", form.heads, partial(judged_by_asking, engine, writer))
