"""Runs on recorded rollouts that are killed after a checkpoint, and go on from it in any layout; ranks call these."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from lightrft_core import ALGORITHMS, BatchSizes
from lightrft_core.experience import make_experience
from lightrft_strategy.checkpoints import newest_whole, write_checkpoint
from lightrft_strategy.training.full import full

from .recorded import Case, advance, build, recorded

NUMBERS = 5
"""Batches of rollouts of a whole run; each makes four optimiser steps."""


class Layout(NamedTuple):
    """A way of holding (of recorded.HOLDS) and a number of ranks."""

    hold: str
    world: int

    def __str__(self) -> str:
        return "single" if self.hold == "one" else f"{self.hold} on {self.world}"


SINGLE = Layout("one", 1)


@dataclass(frozen=True)
class Curve:
    """losses, norms: of each optimiser step. state: masters and moments at the end, whole."""

    losses: list[float]
    norms: list[float]
    state: dict[str, numpy.ndarray]


def curve(case: Case, numbers: range, checkpoints: Path | None = None) -> Curve:
    """The run over these batches, from its beginning or from the newest checkpoint."""
    strategy = build(case)
    if checkpoints is not None:
        newest, faults = newest_whole(checkpoints, checksums=True, ranks=strategy.ranks)
        assert newest is not None
        assert newest.name == f"step_{numbers.start}"
        assert faults == []
        strategy.load(newest)
    outcome = advance(strategy, case, numbers)
    state = {name: full(tensor).detach().clone().numpy() for name, tensor in strategy.held["policy"].state().items()}
    return Curve(outcome.losses, outcome.norms, state)


def killed(case: Case, stop: int, checkpoints: Path) -> None:
    """The run over its first batches, a checkpoint, and kill -9 of every rank in the midst of the next step."""
    strategy = build(case)
    advance(strategy, case, range(stop))
    write_checkpoint(checkpoints, stop, strategy.save, keep=1, ranks=strategy.ranks)

    def die(*_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    steps, _ = make_experience(recorded(stop), ALGORITHMS[case.algorithm], strategy, BatchSizes(5, 3, 60, 8))
    strategy.train_step("policy", steps[0], die)
