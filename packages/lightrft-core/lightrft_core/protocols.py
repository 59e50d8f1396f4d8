"""What the loop asks of the world: the only things core knows of machines, data and judgement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from torch import Tensor

from lightrft_core.batching import Batch
from lightrft_core.metrics import Metrics
from lightrft_core.pace import Pace
from lightrft_core.sampling import SamplingParams
from lightrft_core.types import Group, Prompt, Verdict

T = TypeVar("T")


class PromptSource(Protocol):
    """Prompts by step: a pure function of the step, so that a resumed run reads what it would have read."""

    num_steps: int

    def batch(self, step: int) -> list[Prompt]:
        """The prompts of one step, 1 being the first."""
        ...

    def spare(self, start: int, count: int) -> list[Prompt]:
        """Prompts beyond those of all steps, from number `start` on, to replace others; there is no end to them."""
        ...


class Engine(Protocol):
    """Draws answers from the policy."""

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        """sampling.n rollouts for each prompt, in the order of the prompts; step keys the randomness.

        A prompt that cannot be answered (empty, too long, not the model's tokens) costs its own group alone: that group
        has no rollouts and says why in `error`.
        """
        ...

    def load_weights(self, version: int) -> Metrics:
        """From now on sample with the policy as it stands after optimiser step `version`. Returns what shows it."""
        ...


class Reward(Protocol):
    """Judges answers."""

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        """One verdict per rollout, nested as the groups are."""
        ...


@dataclass(frozen=True)
class PolicyOutput:
    """What a policy says of a batch's loss tokens. logprobs, entropy: [tokens], float32.

    aux_loss: scalar, what its routers' imbalance costs on the batch; None: it has none, or is not asked.
    """

    logprobs: Tensor
    entropy: Tensor
    aux_loss: Tensor | None = None


@dataclass(frozen=True)
class CriticOutput:
    """What a critic expects, before each loss token, of the rest of the answer. values: [tokens], float32."""

    values: Tensor


Loss: TypeAlias = Callable[[Any, Batch], tuple[Tensor, Metrics]]
"""(model output, batch) -> this batch's share of the step's loss (already divided globally), and its metrics."""


@dataclass(frozen=True)
class StepReport:
    """One optimiser step. grad_norm: global L2 norm before clipping. fault: why it was skipped, "" if it was not.

    loss_scale: what the loss was multiplied by to keep its gradient in range; None: nothing.
    overflowed: skipped because that was too much: no fault of the run, the scale is lower from now on.
    paces: what each learner computed, and how long; empty: not measured.
    """

    loss: float
    grad_norm: float
    learning_rate: float
    metrics: Metrics
    fault: str = ""
    loss_scale: float | None = None
    overflowed: bool = False
    paces: tuple[Pace, ...] = ()

    def summary(self, model: str) -> Metrics:
        """The step's metrics with its own: loss and gradient norm only if it was taken."""
        summary, optimiser = Metrics(), "optimiser" if model == "policy" else model
        summary.merge(self.metrics)
        summary.mean(f"{optimiser}/skipped_share", [bool(self.fault)])
        summary.max(f"{optimiser}/learning_rate", [self.learning_rate])
        if self.loss_scale is not None:
            summary.mean(f"{optimiser}/loss_scale", [self.loss_scale])
            summary.mean(f"{optimiser}/overflow_share", [self.overflowed])
        if not (self.fault or self.overflowed):
            summary.mean(f"{model}/loss", [self.loss])
            summary.mean(f"{optimiser}/grad_norm", [self.grad_norm])
        return summary


class Ranks(Protocol):
    """The processes that run the loop together, all of them the same program.

    learner, learners: into how many shares a step's micro-batches are dealt, and which of them this rank computes;
    ranks that compute every micro-batch together have the same.
    """

    rank: int
    world_size: int
    learner: int
    learners: int

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all ranks, rank after rank, on every rank."""
        ...

    def reduce(self, metrics: Metrics) -> dict[str, float]:
        """The metrics of all ranks as one."""
        ...


class Strategy(Ranks, Protocol):
    """Holds the models of a run by name, any of them trainable, and steps their optimisers.

    Every rank calls everything, with equally many batches.
    """

    def forward(self, model: str, batches: Sequence[Batch]) -> list[Any]:
        """The named model's output on each of this rank's batches, without gradient."""
        ...

    def train_step(self, model: str, batches: Sequence[Batch], loss: Loss) -> StepReport:
        """One optimiser step over the micro-batches of all learners; a loss or gradient that is not finite skips it.

        The report's loss is that of all learners; its metrics are of this rank's batches, or empty where another rank
        of the same learner has them.
        """
        ...

    def skip_step(self, model: str) -> None:
        """Count a step that has nothing to learn from: schedules advance, weights and moments stay."""
        ...

    def save(self, folder: Path) -> None:
        """Everything needed to go on with the same bits, written into a folder."""
        ...

    def load(self, folder: Path) -> None:
        """What save wrote."""
        ...


class Recorder(Protocol):
    """Keeps what a run did. keeps_answers: whether that includes the tokens of every answer."""

    keeps_answers: bool

    def phase(self, name: str, step: int) -> Any:
        """A context manager around one phase of a step, timed."""
        ...

    def record(self, step: int, metrics: Mapping[str, float], groups: Sequence[Group]) -> None:
        """One finished step: its metrics line and its trajectories."""
        ...

    def evaluated(self, step: int, groups: Sequence[Group]) -> None:
        """The judged answers of an evaluation."""
        ...

    def warn(self, step: int, message: str) -> None:
        """Something a person should look at."""
        ...

    def checkpoint(self, step: int, save: Callable[[Path], None]) -> None:
        """Let `save` fill a folder that appears whole or not at all."""
        ...
