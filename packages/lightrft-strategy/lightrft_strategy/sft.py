"""Supervised learning: read a batch of examples, take a step towards what they say, and now and then look back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from torch import Tensor

from lightrft_core import (
    Batch,
    BatchSizes,
    Metrics,
    Paces,
    Ranks,
    Recorder,
    Schedule,
    Strategy,
    TrainState,
)

LARGEST_EXPONENT = 700.0
"""Of a number that JSON can hold."""


class Countable(Protocol):
    """One thing to learn from: core's Example, a comparison of answers."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What is counted of it, such as its tokens; step by step the sums are data/... in the metrics."""
        ...


E = TypeVar("E", bound=Countable)


class ExampleSource(Protocol[E]):
    """Examples by step: a pure function of the step, so that a resumed run reads what it would have read."""

    num_steps: int

    def batch(self, step: int) -> list[E]:
        """The examples of one step, 1 being the first."""
        ...


Cut: TypeAlias = Callable[[Sequence[E], Ranks, BatchSizes, Paces | None], list[Batch]]
"""This rank's micro-batches of one step over the examples of all ranks, equally many on each (core's example_batches).
"""


class Objective(Protocol):
    """What is minimised (core's Likelihood), and what is measured where nothing is learnt."""

    def loss(self, output: Any, batch: Batch) -> tuple[Tensor, Metrics]:
        """A batch's share of the step's loss, already divided by the whole step's tokens, and its metrics."""
        ...

    def measure(self, output: Any, batch: Batch) -> Metrics:
        """Metrics, named for the model (policy/...), of a batch that is only looked at."""
        ...


@dataclass
class SupervisedTrainer(Generic[E]):
    """Training of the strategy's model of a name on examples; those held out are looked at in between.

    cut: examples into micro-batches.
    saving: called by every rank with each checkpoint, before anything else reads the weights.
    """

    strategy: Strategy
    examples: ExampleSource[E]
    cut: Cut[E]
    objective: Objective
    recorder: Recorder
    sizes: BatchSizes
    schedule: Schedule = field(default_factory=Schedule)
    held_out: Sequence[E] = ()
    model: str = "policy"
    saving: Callable[[], None] = lambda: None
    state: TrainState = field(default_factory=TrainState)

    def run(self) -> None:
        """Train to the last step, from wherever the state stands. Raises TrainingDiverged."""
        if self.state.step == 0 and self.held_out:
            self.recorder.record(0, self.evaluate(0), [])
        for step in range(self.state.step + 1, self.examples.num_steps + 1):
            with self.recorder.phase("optimise", step):
                metrics = self.optimise(step)
            self.finish(step, metrics)

    def optimise(self, step: int) -> Metrics:
        """One optimiser step on the step's examples of all ranks."""
        examples = self.examples.batch(step)
        batches = self.cut(examples, self.strategy, self.sizes, self.state.paces)
        report = self.strategy.train_step(self.model, batches, self.objective.loss)
        if self.state.paces is not None:
            self.state.paces.note(report.paces)
        if report.fault:
            self.recorder.warn(step, f"{self.model}: optimiser step {step} skipped: {report.fault}")
        self.state.optimiser_steps += 1
        self.state.count([None if report.overflowed else report.fault], self.schedule.max_skipped_steps)
        metrics = report.summary(self.model)
        for name, total in sum((Counter(example.counts) for example in examples), Counter[str]()).items():
            metrics.mean(f"data/{name}", [total])
        return metrics

    def evaluate(self, step: int) -> dict[str, float]:
        """What the model says of the examples held out, all of them together."""
        metrics = Metrics()
        with self.recorder.phase("evaluate", step):
            batches = self.cut(self.held_out, self.strategy, self.sizes, None)
            for batch, output in zip(batches, self.strategy.forward(self.model, batches), strict=True):
                metrics.merge(self.objective.measure(output, batch))
            numbers = with_perplexity(self.strategy.reduce(metrics))
        return {f"eval/{name.partition('/')[2]}": number for name, number in numbers.items()}

    def finish(self, step: int, metrics: Metrics) -> None:
        """Record the step, evaluate and checkpoint when due."""
        numbers, last = with_perplexity(self.strategy.reduce(metrics)), step == self.examples.num_steps
        if self.held_out and (last or (self.schedule.eval_steps and step % self.schedule.eval_steps == 0)):
            numbers |= self.evaluate(step)
        self.state.step = step
        self.recorder.record(step, numbers, [])
        if last or (self.schedule.save_steps and step % self.schedule.save_steps == 0):
            self.recorder.checkpoint(step, self.save)

    def save(self, folder: Path) -> None:
        """Everything needed to go on exactly."""
        self.strategy.save(folder)
        self.saving()
        self.state.save(folder, self.strategy)


def with_perplexity(numbers: Mapping[str, float]) -> dict[str, float]:
    """The numbers, and beside policy/nll what it means: among how many tokens alike the model would have to guess."""
    nll = numbers.get("policy/nll")
    return dict(numbers) | ({} if nll is None else {"policy/perplexity": exp(min(nll, LARGEST_EXPONENT))})
