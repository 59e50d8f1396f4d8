"""The examples of a supervised run, read and checked: those to learn from, those held out, what to tell about them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from lightrft_apps.config import SFTConfig
from lightrft_apps.senses import Senses
from lightrft_core import Example
from lightrft_strategy.data import (
    ExampleSpec,
    ExampleStream,
    LoadedExamples,
    PromptDataError,
    Rejected,
    load_examples,
    write_rejected,
)


@dataclass(frozen=True)
class RunExamples:
    """stream: by step. loaded: as they were read. held_out: those to look at; rejected: rows that could not be used."""

    stream: ExampleStream
    loaded: LoadedExamples
    held_out: list[Example]
    rejected: list[Rejected]

    def described(self) -> str:
        """What there is to learn, in a sentence."""
        examples = [example for source in self.loaded.sources for example in source]
        tokens = sum(len(example.token_ids) for example in examples)
        learnt = sum(bytes(map(bool, example.loss_mask)).count(1) for example in examples)
        return (
            f"{len(examples)} examples of {tokens} tokens, {learnt} of them learnt ({learnt / tokens:.0%}); "
            f"{len(self.held_out)} held out"
        )

    def warnings(self, rejected: Path) -> Iterator[str]:
        """What a person should know; rejected: where the rows lie that could not be used."""
        if self.rejected:
            yield f"{len(self.rejected)} rows could not be used and lie in {rejected}; the first: {self.rejected[0]}"
        held_out = {_content(example): example.uid for example in self.held_out}
        learnt = (example for source in self.loaded.sources for example in source) if held_out else ()
        twice = [(uid, example.uid) for example in learnt if (uid := held_out.get(_content(example))) is not None]
        if twice:
            yield f"{len(twice)} examples are held out and trained on; the first: {' = '.join(twice[0])}"


def read_examples(config: SFTConfig, senses: Senses, rejected: Path | None) -> RunExamples:
    """Read all examples; rows that cannot be used go to the file `rejected`, or nowhere. Raises PromptDataError."""
    spec, evaluation = ExampleSpec(**vars(config.data)), config.evaluation
    held_out = LoadedExamples([], [])
    try:
        loaded = load_examples(spec, senses.tokenizer, senses.encoder)
        if evaluation.eval_dataset is not None:
            held_out = load_examples(eval_spec(config), senses.tokenizer, senses.encoder)
    except PromptDataError as error:
        if rejected is not None:
            write_rejected(rejected, error.rejected)
        raise
    bad = loaded.rejected + held_out.rejected
    if rejected is not None:
        write_rejected(rejected, bad)
    train = config.train
    stream = ExampleStream(loaded.sources, spec.probs, train.train_batch_size, train.max_epochs, config.run.seed)
    if train.max_steps is not None:
        stream.num_steps = min(stream.num_steps, train.max_steps)
    return RunExamples(stream, loaded, [example for source in held_out.sources for example in source], bad)


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


def _content(example: Example) -> bytes:
    """What tells an example from others, in a few bytes."""
    content = sha256(array("i", example.token_ids).tobytes() + bytes(map(bool, example.loss_mask)))
    for media in example.media:
        content.update(media.sha256.encode())
    return content.digest()
