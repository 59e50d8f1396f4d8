"""Dynamic loss scaling: what keeps the small gradients of float16 from vanishing and its large ones in range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightrft_core import TrainingDiverged

FIRST, SMALLEST, LARGEST = 2**16, 1, 2**24
PATIENCE = 2000
"""Optimiser steps that are taken before a larger scale is tried."""


@dataclass(frozen=True)
class LossScale:
    """What a loss is multiplied by before its gradient is taken, and the gradient divided by in float32.

    (Micikevicius et al. 2018, "Mixed Precision Training", arXiv 1710.03740, section 3.2.) It is a power of two, so it
    changes no bit of a number that neither vanishes nor overflows. taken: optimiser steps since it was last changed.
    """

    value: int = FIRST
    taken: int = 0

    def kept(self) -> LossScale:
        """After a step that was taken: twice as large after PATIENCE of them."""
        if self.taken + 1 < PATIENCE:
            return LossScale(self.value, self.taken + 1)
        return LossScale(min(2 * self.value, LARGEST))

    def lowered(self, fault: str) -> LossScale:
        """After a gradient that was not finite: half as large. Raises TrainingDiverged where it cannot be smaller."""
        if self.value <= SMALLEST:
            raise TrainingDiverged(
                f"{fault} in float16, and the loss scale is down to {SMALLEST}: the range of float16 is too narrow for "
                "this run, or its gradient is wrong; train with --bf16, or without --fp16"
            )
        return LossScale(self.value // 2)

    def counters(self) -> dict[str, int]:
        """For a checkpoint."""
        return {"loss_scale": self.value, "steps_at_loss_scale": self.taken}

    @classmethod
    def of(cls, counters: Mapping[str, int]) -> LossScale:
        """What `counters` gave; a first scale if these are of a run that has none."""
        if "loss_scale" not in counters:
            return cls()
        return cls(counters["loss_scale"], counters["steps_at_loss_scale"])
