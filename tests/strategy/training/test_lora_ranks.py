"""An adapter on several ranks: the run of one process, its reference without a copy of the weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy
import pytest

from lightrft_strategy.training import FullyShard, Whole
from lightrft_strategy.training.zero import Zero

from .lora_runs import adapter_run

pytestmark = pytest.mark.usefixtures("one_thread")


def assert_same_run(outcomes: list[Any], expected: Any, rtol: float, atol: float) -> None:
    for outcome in outcomes:
        assert outcome.keys() == expected.keys()
        for name in expected:
            numpy.testing.assert_allclose(outcome[name], expected[name], rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("hold", [Whole, FullyShard()], ids=["ddp", "fsdp2"])
def test_an_adapter_on_two_ranks_is_that_of_one_process(processes: Any, hold: Any) -> None:
    expected = adapter_run(Whole, True)
    trained = {name.partition(".")[2] for name in expected if name.startswith("master.")}
    assert len(trained) == 28
    assert all(".lora_" in name for name in trained)
    assert_same_run(processes(2).run(adapter_run, hold, True), expected, 1e-4, 1e-6)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_adapter_under_zero_is_that_of_one_process_in_float32(processes: Any, stage: int) -> None:
    pytest.importorskip("deepspeed")
    zero = partial(Zero, persistence_threshold=0)(stage)
    expected = adapter_run(Whole, False)
    if stage == 3:  # what it publishes is refused by the configuration's checks
        expected = {name: value for name, value in expected.items() if not name.startswith("model.")}
    outcomes = [{name: outcome[name] for name in expected} for outcome in processes(2).run(adapter_run, zero, False)]
    assert_same_run(outcomes, expected, 2e-3, 2e-4)
