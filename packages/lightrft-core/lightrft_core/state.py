"""Where a run stands, beside the models: enough to go on exactly."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lightrft_core.evaluation import Estimate
from lightrft_core.vitals import TrainingDiverged, Vitals

FILE = "trainer.json"


@dataclass
class TrainState:
    """step: finished rollout batches; optimiser_steps: attempted updates; evaluations: accuracy by step."""

    step: int = 0
    optimiser_steps: int = 0
    skipped_in_a_row: int = 0
    vitals: Vitals = field(default_factory=Vitals)
    evaluations: dict[int, Estimate] = field(default_factory=dict[int, Estimate])

    def count(self, fault: str, limit: int) -> None:
        """Note how an optimiser step went. Raises TrainingDiverged after `limit` faults in a row."""
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if fault else 0
        if self.skipped_in_a_row >= limit:
            raise TrainingDiverged(f"{limit} optimiser steps in a row skipped; {fault}")

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TrainState:
        stored = json.loads((folder / FILE).read_text(encoding="utf-8"))
        evaluations = {
            int(step): Estimate(e["value"], e["n"], (e["interval"][0], e["interval"][1]))
            for step, e in stored.pop("evaluations").items()
        }
        return cls(**stored | {"vitals": Vitals(**stored["vitals"]), "evaluations": evaluations})
