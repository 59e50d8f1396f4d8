"""Answers that are given, as `lightrft sft` learns them: read, described, and told from each other."""

from __future__ import annotations

from array import array
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from lightrft_apps.config import SFTConfig
from lightrft_apps.data.examples import ReadExamples, RunExamples, in_order
from lightrft_apps.models.senses import Senses
from lightrft_core import Example
from lightrft_strategy.data import ExampleSpec, LoadedExamples, flags_called, load_examples


def read_answers(config: SFTConfig, senses: Senses, rejected: Path | None) -> RunExamples[Example]:
    """Read all examples; rows that cannot be used go to the file `rejected`, or nowhere. Raises PromptDataError."""
    spec = ExampleSpec(**vars(config.data))
    return in_order(config, partial(_read, config, spec, senses), spec.probs, content_of, rejected)


def _read(config: SFTConfig, spec: ExampleSpec, senses: Senses) -> ReadExamples[Example]:
    held_out = LoadedExamples([], [])
    loaded = load_examples(spec, senses.tokenizer, senses.encoder)
    if config.evaluation.eval_dataset is not None:
        with flags_called({"--dataset": "--eval_dataset", "--dataset_split": "--eval_split"}):
            held_out = load_examples(eval_spec(config), senses.tokenizer, senses.encoder)
    kept = [example for source in held_out.sources for example in source]
    return ReadExamples(loaded.sources, kept, loaded.rejected + held_out.rejected, _described(loaded, len(kept)))


def eval_spec(config: SFTConfig) -> ExampleSpec:
    """Where held-out examples come from; written as those to learn from are."""
    evaluation = config.evaluation
    return replace(
        ExampleSpec(**vars(config.data)),
        dataset=evaluation.eval_dataset or "",
        dataset_probs=None,
        dataset_split=evaluation.eval_split,
        max_samples=evaluation.eval_max_samples,
    )


def _described(loaded: LoadedExamples, held_out: int) -> str:
    examples = [example for source in loaded.sources for example in source]
    tokens = sum(len(example.token_ids) for example in examples)
    learnt = sum(bytes(map(bool, example.loss_mask)).count(1) for example in examples)
    return (
        f"{len(examples)} examples of {tokens} tokens, {learnt} of them learnt ({learnt / tokens:.0%}); "
        f"{held_out} held out"
    )


def content_of(example: Example) -> bytes:
    """What tells an example from others, in a few bytes."""
    content = sha256(array("i", example.token_ids).tobytes() + bytes(map(bool, example.loss_mask)))
    for media in example.media:
        content.update(media.sha256.encode())
    return content.digest()
