"""The same run, whatever the holding and the number of ranks: recorded rollouts, compared with one process."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy
import pytest

from .recorded import FAMILIES, Case, Outcome, first_gradient, plain_gradient, train

WORLDS = (1, 2, 4)


@pytest.fixture(scope="session")
def alone(processes):
    """alone(case) -> the outcome in one process without a group."""

    @cache
    def outcome(case: Case) -> Outcome:
        return processes(1).run(train, case)[0]

    return outcome


def difference(one: Outcome, other: Outcome) -> float:
    """The largest relative difference of any weight matrix."""
    assert one.weights.keys() == other.weights.keys()
    pairs = [(one.weights[name], other.weights[name]) for name in one.weights]
    return max(float(numpy.linalg.norm(a - b) / (numpy.linalg.norm(b) + 1e-12)) for a, b in pairs)


def assert_same_run(outcomes: list[Outcome], reference: Outcome, tolerance: float) -> None:
    """Loss curve, gradient norms, metrics and final weights."""
    for outcome in outcomes:
        numpy.testing.assert_allclose(outcome.losses, reference.losses, rtol=tolerance, atol=tolerance)
        numpy.testing.assert_allclose(outcome.norms, reference.norms, rtol=tolerance)
        for mine, theirs in zip(outcome.metrics, reference.metrics, strict=True):
            assert mine == pytest.approx(theirs, rel=max(tolerance, 1e-6), abs=1e-9)
        assert difference(outcome, reference) <= tolerance
        for name, weight in outcomes[0].weights.items():
            assert numpy.array_equal(outcome.weights[name], weight), "all ranks hold the same bits"


@pytest.mark.parametrize("hold", ["ddp", "fsdp2"])
@pytest.mark.parametrize("world", WORLDS)
def test_twenty_steps_in_float64_are_those_of_one_process(processes, alone, world: int, hold: str) -> None:
    reference = alone(Case())
    assert numpy.isfinite(reference.losses).sum() >= 18, "the recorded rollouts teach something"
    assert max(reference.norms) > 1, "clipping takes part"
    assert_same_run(processes(world).run(train, Case(hold)), reference, 1e-9)


@pytest.mark.parametrize("hold", ["ddp", "fsdp2"])
@pytest.mark.parametrize("micro_batch", [1, 16])
def test_any_micro_batch_size_makes_the_same_run(processes, alone, hold: str, micro_batch: int) -> None:
    outcomes = processes(2).run(train, Case(hold, micro_batch=micro_batch, optimiser_steps=5))
    assert_same_run(outcomes, alone(Case(optimiser_steps=5)), 1e-9)


@pytest.mark.parametrize("hold", ["ddp", "fsdp2"])
@pytest.mark.parametrize(
    ("world", "steps"), [(2, 8), *(pytest.param(world, 20, marks=pytest.mark.proof) for world in (2, 4))]
)
def test_in_float32_the_losses_are_those_of_one_process(processes, alone, world: int, steps: int, hold: str) -> None:
    reference = alone(Case(dtype="float32", optimiser_steps=steps))
    for outcome in processes(world).run(train, Case(hold, "float32", optimiser_steps=steps)):
        numpy.testing.assert_allclose(outcome.losses, reference.losses, rtol=1e-4, atol=1e-4)


def test_options_of_sharding_change_no_bit(processes) -> None:
    plain = processes(2).run(train, Case("fsdp2", optimiser_steps=4))[0]
    for hold in ("fsdp2 kept", "fsdp2 offloaded"):
        for outcome in processes(2).run(train, Case(hold, optimiser_steps=4)):
            assert outcome.losses == plain.losses, hold
            assert all(numpy.array_equal(outcome.weights[name], plain.weights[name]) for name in plain.weights), hold


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "Llama"])
@pytest.mark.parametrize("hold", ["ddp", "fsdp2"])
def test_other_families_make_the_same_run(processes, alone, hold: str, family: str) -> None:
    reference = alone(Case(family=family, optimiser_steps=3))
    assert_same_run(processes(2).run(train, Case(hold, family=family, optimiser_steps=3)), reference, 1e-9)


@pytest.mark.parametrize(
    "case",
    [
        Case("ddp", packing=True, micro_batch=16),
        Case("ddp", sharing=False),
        Case("fsdp2", packing=True, sharing=False),
    ],
    ids=["ddp, packed", "ddp, prompts copied", "fsdp2, packed, prompts copied"],
)
def test_rows_with_or_without_padding_and_copies_of_prompts_make_the_same_run(processes, alone, case: Case) -> None:
    outcomes = processes(2).run(train, replace(case, optimiser_steps=5))
    assert_same_run(outcomes, alone(Case(optimiser_steps=5)), 1e-9)


@pytest.mark.parametrize(
    "case",
    [
        Case("zero 1", "float32", family="Qwen2", packing=True),
        Case("zero 3", "float32", family="DeepseekV3", sharing=False),
    ],
    ids=["zero 1, Qwen2, packed", "zero 3, DeepseekV3, prompts copied"],
)
def test_families_in_deepspeeds_hands_make_the_same_run(processes, alone, case: Case) -> None:
    pytest.importorskip("deepspeed")
    reference = alone(Case(dtype="float32", family=case.family, optimiser_steps=3))
    for outcome in processes(2).run(train, replace(case, optimiser_steps=3)):
        numpy.testing.assert_allclose(outcome.losses, reference.losses, rtol=1e-4)
        numpy.testing.assert_allclose(outcome.norms, reference.norms, rtol=1e-4)
        for name, weight in reference.weights.items():
            numpy.testing.assert_allclose(outcome.weights[name], weight, rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [(Case("fsdp2", packing=True), 1e-9), (Case("zero 2", "float32"), 1e-4)],
    ids=["fsdp2", "zero 2"],
)
def test_the_gradient_of_every_weight_is_that_of_autograd_in_one_process(processes, case: Case, tolerance) -> None:
    if case.hold.startswith("zero"):
        pytest.importorskip("deepspeed")
    expected = plain_gradient(Case(dtype=case.dtype))
    for found in processes(2).run(first_gradient, case):
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert numpy.linalg.norm(gradient) > 0, name
            assert numpy.linalg.norm(found[name] - gradient) <= tolerance * numpy.linalg.norm(gradient), name


@pytest.mark.parametrize("hold", ["ddp", "fsdp2"])
def test_policy_critic_and_reference_learn_together(processes, alone, hold: str) -> None:
    reference = alone(Case(dtype="float32", algorithm="ppo", optimiser_steps=5))
    for outcome in processes(2).run(train, Case(hold, "float32", algorithm="ppo", optimiser_steps=5)):
        numpy.testing.assert_allclose(outcome.losses, reference.losses, rtol=1e-4, atol=1e-4)
        assert difference(outcome, reference) < 1e-3


@pytest.mark.parametrize("hold", ["ddp", "fsdp2"])
def test_bfloat16_is_near_bfloat16_of_one_process(processes, alone, hold: str) -> None:
    case = Case(dtype="float32", bf16=True, optimiser_steps=5)
    exact, reference = alone(Case(dtype="float32", optimiser_steps=5)), alone(case)
    rounding = difference(reference, exact)
    for outcome in processes(2).run(train, Case(hold, "float32", bf16=True, optimiser_steps=5)):
        numpy.testing.assert_allclose(outcome.losses, reference.losses, atol=0.05)
        assert difference(outcome, exact) < 2 * rounding
