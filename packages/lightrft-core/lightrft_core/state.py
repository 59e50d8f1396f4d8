"""Where a run stands, beside the models: enough to go on exactly."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lightrft_core.algorithm import Algorithm
from lightrft_core.evaluation import Estimate
from lightrft_core.pace import Paces
from lightrft_core.protocols import PromptSource, Ranks
from lightrft_core.shaping import RunningMoments
from lightrft_core.types import Prompt
from lightrft_core.vitals import TrainingDiverged, Vitals

FILE = "trainer.json"


@dataclass
class TrainState:
    """step: finished rollout batches; optimiser_steps: attempted updates; evaluations: accuracy by step.

    spare_prompts: prompts drawn to replace others. kl_coef: the coefficient as steered so far; None: as it began.
    moments: of every reward so far. paces: of the learners, by which work is dealt to them; None: to all alike.
    """

    step: int = 0
    optimiser_steps: int = 0
    skipped_in_a_row: int = 0
    spare_prompts: int = 0
    kl_coef: float | None = None
    moments: RunningMoments = field(default_factory=RunningMoments)
    vitals: Vitals = field(default_factory=Vitals)
    evaluations: dict[int, Estimate] = field(default_factory=dict[int, Estimate])
    paces: Paces | None = None

    def count(self, faults: Iterable[str | None], limit: int) -> None:
        """Note how an optimiser step's updates went, as `update` returns it.

        Raises TrainingDiverged after `limit` steps with a fault in a row; a step without any update is none of them.
        """
        tried = [fault for fault in faults if fault is not None]
        if tried:
            self.skipped_in_a_row = self.skipped_in_a_row + 1 if any(tried) else 0
        if self.skipped_in_a_row >= limit:
            raise TrainingDiverged(f"{limit} optimiser steps in a row skipped; {'; '.join(filter(None, tried))}")

    def spare(self, prompts: PromptSource, count: int) -> list[Prompt]:
        """The next so many prompts that no step has drawn."""
        self.spare_prompts += count
        return prompts.spare(self.spare_prompts - count, count)

    def steered(self, algorithm: Algorithm) -> Algorithm:
        """The algorithm with its coefficient as it stands."""
        return algorithm if self.kl_coef is None else replace(algorithm, kl_coef=self.kl_coef)

    def steer(self, algorithm: Algorithm, measured: float | None, samples: float) -> None:
        """Let a step's measured divergence change the coefficient, if the algorithm has a target for it."""
        if algorithm.adaptive_kl is not None and measured is not None:
            coefficient = algorithm.kl_coef if self.kl_coef is None else self.kl_coef
            self.kl_coef = algorithm.adaptive_kl.update(coefficient, measured, samples)

    def save(self, folder: Path, ranks: Ranks | None = None) -> None:
        """Write what `load` reads. ranks: None: this process alone; otherwise the first writes, for all are alike."""
        if ranks is None or ranks.rank == 0:
            (folder / FILE).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TrainState:
        stored = json.loads((folder / FILE).read_text(encoding="utf-8"))
        evaluations = {
            int(step): Estimate(e["value"], e["n"], (e["interval"][0], e["interval"][1]))
            for step, e in stored.pop("evaluations").items()
        }
        vitals, moments = Vitals(**stored["vitals"]), RunningMoments(**stored["moments"])
        paces = Paces(**stored["paces"]) if stored.get("paces") else None
        parts = {"vitals": vitals, "moments": moments, "evaluations": evaluations, "paces": paces}
        return cls(**stored | parts)
