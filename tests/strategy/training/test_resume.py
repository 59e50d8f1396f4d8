"""A strategy that was saved and loaded goes on with the same bits, on the same number of ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

from .recorded import Case, a_batch, build, plain_loss, weights
from .test_faults import same


def interrupted(case: Case, folder: Path) -> tuple[bool, bool]:
    """(whether loading changes weights, whether three further steps give the same bits as without a break)."""
    through, resumed = build(case), build(case)

    def go(strategy, steps: range) -> None:
        for number in steps:
            assert strategy.train_step("policy", [a_batch(10 * number + strategy.rank)], plain_loss).fault == ""

    go(through, range(3))
    through.save(folder)
    go(resumed, range(5, 6))
    moved = not same(weights(resumed), weights(through))
    said = resumed.forward("policy", [a_batch(1)])[0].logprobs
    resumed.load(folder)
    says, expected = (each.forward("policy", [a_batch(1)])[0].logprobs for each in (resumed, through))
    assert says.equal(expected), "what was gathered before is gathered anew"
    assert not says.equal(said)
    go(through, range(3, 6))
    go(resumed, range(3, 6))
    return moved, same(weights(resumed), weights(through))


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("hold", ["ddp", "fsdp2", "fsdp2 kept"])
def test_a_saved_run_goes_on_with_the_same_bits(processes, tmp_path: Path, hold: str, bf16: bool) -> None:
    assert processes(2).run(interrupted, Case(hold, "float32", bf16), tmp_path) == [(True, True)] * 2
