"""DeepSpeed's ZeRO in float16: its gradients under our loss scale, the same law as for every other holding.

DeepSpeed refuses float16 on processors that do not multiply it natively; torch computes it there all the same, so these
tests tell DeepSpeed otherwise.
"""

from __future__ import annotations

from typing import Any

import pytest

from lightrft_strategy.training.zero import Zero

from .float16_runs import FITTING, able, curve, overflowing
from .recorded import Case, Outcome

pytestmark = [pytest.mark.proof, pytest.mark.usefixtures("one_thread")]


def half_overflowing(zero: Zero) -> dict[str, Any]:
    with able():
        return overflowing(zero)


def half_curve(zero: Zero) -> Outcome:
    with able():
        return curve(Case("ddp", "float32"), fp16=True, hold=zero)


@pytest.mark.parametrize(("stage", "offload"), [(1, False), (2, False), (3, False), (2, True), (3, True)])
def test_an_overflow_halves_our_scale_skips_the_step_and_the_run_goes_on(processes, stage: int, offload: bool) -> None:
    notes, other = processes(2).run(half_overflowing, Zero(stage, adam_offload=offload))
    assert notes == other
    assert notes["scales"] == [FITTING, FITTING, FITTING // 2, FITTING // 4, FITTING // 4]
    assert notes["overflowed"] == notes["unmoved"] == [False, True, True, False, False]
    assert notes["same"] and notes["faults"] == [""] * 5


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_twenty_recorded_steps_follow_those_of_one_process_in_float32(processes, stage: int) -> None:
    exact = curve(Case("one", "float32"))
    for outcome in processes(2).run(half_curve, Zero(stage, persistence_threshold=500)):
        for mine, theirs in zip(outcome.losses, exact.losses, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-2, nan_ok=True)
        for mine, theirs in zip(outcome.norms, exact.norms, strict=True):
            assert mine == pytest.approx(theirs, rel=0.03, nan_ok=True)
