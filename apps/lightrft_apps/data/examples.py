"""What a supervised run learns from, of any kind: read, put in order, and what a person should know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from lightrft_apps.config import SupervisedConfig
from lightrft_strategy.data import ExampleStream, PromptDataError, Rejected, write_rejected
from lightrft_strategy.sft import Countable


class Named(Countable, Protocol):
    """One thing to learn from, which its uid tells from all others."""

    @property
    def uid(self) -> str: ...


E = TypeVar("E", bound=Named)


@dataclass(frozen=True)
class ReadExamples(Generic[E]):
    """sources: examples to learn from, source by source. held_out: those to look at.

    rejected: rows that could not be used. described: what there is, in a sentence. notes: what else to warn of.
    """

    sources: Sequence[Sequence[E]]
    held_out: Sequence[E]
    rejected: Sequence[Rejected]
    described: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class RunExamples(Generic[E]):
    """stream: what is learnt from by step. content: what tells an example from others, whatever its uid."""

    stream: ExampleStream[E]
    read: ReadExamples[E]
    content: Callable[[E], bytes]

    def warnings(self, rejected: Path) -> Iterator[str]:
        """What a person should know; rejected: where the rows lie that could not be used."""
        bad = self.read.rejected
        if bad:
            yield f"{len(bad)} rows could not be used and lie in {rejected}; the first: {bad[0]}"
        yield from self.read.notes
        held_out = {self.content(example): example.uid for example in self.read.held_out}
        learnt = (example for source in self.read.sources for example in source) if held_out else ()
        twice = [(uid, example.uid) for example in learnt if (uid := held_out.get(self.content(example))) is not None]
        if twice:
            yield f"{len(twice)} examples are held out and trained on; the first: {' = '.join(twice[0])}"


def in_order(
    config: SupervisedConfig,
    read: Callable[[], ReadExamples[E]],
    probs: Sequence[float] | None,
    content: Callable[[E], bytes],
    rejected: Path | None,
) -> RunExamples[E]:
    """What `read` reads, in the run's order; rows that cannot be used go to the file `rejected`, or nowhere.

    probs: a share for each source; None: every example equally often. Raises PromptDataError, as `read` does.
    """
    try:
        examples = read()
    except PromptDataError as error:
        if rejected is not None:
            write_rejected(rejected, error.rejected)
        raise
    if rejected is not None:
        write_rejected(rejected, examples.rejected)
    train = config.train
    stream = ExampleStream(examples.sources, probs, train.train_batch_size, train.max_epochs, config.run.seed)
    if train.max_steps is not None:
        stream.num_steps = min(stream.num_steps, train.max_steps)
    return RunExamples(stream, examples, content)
