"""What goes wrong on one rank alone: every rank skips the step, says whose fault it was, and goes on."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from torch import Tensor

from lightrft_core import ALGORITHMS, Batch, Metrics, collate
from lightrft_strategy.training import TorchRanks

from .recorded import Case, Outcome, a_batch, build, plain_loss, step, weights

FAULTS = {
    "loss": "rank 1: the loss is inf in micro-batch 2 of 3",
    "gradient": "rank 1: the gradient of model.model.embed_tokens.weight is not finite",
}


def same(one: dict[str, numpy.ndarray], other: dict[str, numpy.ndarray]) -> bool:
    return one.keys() == other.keys() and all(numpy.array_equal(one[name], other[name]) for name in one)


def broken_on_rank_1(case: Case, kind: str) -> tuple[str, bool, bool]:
    """(what the report says, whether nothing moved, whether the next step is that of one that saw no fault)."""
    strategy, other, ranks = build(case), build(case), TorchRanks()
    batches = [a_batch(10 * ranks.rank + number) for number in range(3)]
    for each in (strategy, other):
        each.train_step("policy", batches, plain_loss)
    before, number = weights(strategy), 0

    def loss(output: Any, batch: Batch) -> tuple[Tensor, Metrics]:
        nonlocal number
        number += 1
        value, metrics = plain_loss(output, batch)
        if ranks.rank == 1 and number == 2:
            root = (output.logprobs * 0).clamp(min=0).sqrt().sum()
            return (value * float("inf") if kind == "loss" else value + root), metrics
        return value, metrics

    report = strategy.train_step("policy", batches, loss)
    unmoved = same(weights(strategy), before)
    other.skip_step("policy")
    for each in (strategy, other):
        assert each.train_step("policy", batches, plain_loss).fault == ""
    return report.fault, unmoved, same(weights(strategy), weights(other))


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("hold", ["ddp", "fsdp2"])
def test_a_number_that_is_not_finite_on_one_rank_skips_the_step_on_all(processes, hold: str, kind: str) -> None:
    assert processes(2).run(broken_on_rank_1, Case(hold), kind) == [(FAULTS[kind], True, True)] * 2


def some_ranks_learn(case: Case, learners: int) -> Outcome:
    """Three steps whose batches are all on the first ranks; the others take part with empty ones."""
    strategy, outcome = build(case), Outcome([], [], {}, [])
    for seed in range(3):
        batches = [a_batch(seed), a_batch(seed + 9, 1)]
        if strategy.world_size > 1:
            each = 2 // learners
            batches = batches[strategy.rank * each : (strategy.rank + 1) * each] or [collate([])] * each
        step(strategy, batches, {"policy": plain_loss}, outcome)
    outcome.weights.update(weights(strategy))
    return outcome


@pytest.mark.parametrize("learners", [1, 2])
@pytest.mark.parametrize("hold", ["ddp", "fsdp2"])
def test_a_rank_with_nothing_to_learn_from_neither_hangs_nor_changes_anything(processes, hold, learners) -> None:
    (alone,) = processes(1).run(some_ranks_learn, Case(), learners)
    for outcome in processes(4).run(some_ranks_learn, Case(hold), learners):
        numpy.testing.assert_allclose(outcome.losses, alone.losses, rtol=1e-12)
        numpy.testing.assert_allclose(outcome.norms, alone.norms, rtol=1e-12)
        for name, weight in alone.weights.items():
            numpy.testing.assert_allclose(outcome.weights[name], weight, rtol=1e-9, atol=1e-11)


def empty_losses(names: list[str]) -> list[str]:
    """The algorithms whose losses of a batch without tokens have no gradient of zero."""
    model = build(Case("one")).held["policy"].module
    wrong = []
    for name in names:
        batch = collate([])
        value, metrics = ALGORITHMS[name].loss(model(batch), batch)
        value.backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        if value.item() != 0 or metrics.result() or any(g is None or g.count_nonzero() for g in gradients):
            wrong.append(name)
        model.zero_grad()
    return wrong


def test_every_algorithm_has_a_loss_of_zero_for_a_batch_without_tokens(processes) -> None:
    assert processes(1).run(empty_losses, list(ALGORITHMS)) == [[]]


def short_and_long(case: Case) -> str:
    """A step in which the answers of rank 0 have one token and the others' have more."""
    strategy = build(case)
    batch = a_batch(3, longest=1 if strategy.rank == 0 else 5)
    assert (batch.response_ids.shape[1] == 1) == (strategy.rank == 0)
    return strategy.train_step("policy", [batch], plain_loss).fault


def test_answers_of_one_token_on_one_rank_do_not_part_the_ranks(processes) -> None:
    assert processes(2).run(short_and_long, Case("fsdp2")) == ["", ""]
