"""A packed row cut into slices, one a rank: the numbers, the gradient and the training run of one process."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy
import pytest

from lightrft_strategy.language import LanguageActor
from lightrft_strategy.packing import flatten
from lightrft_strategy.training import FullyShard, Whole
from lightrft_strategy.training.zero import Zero
from lightrft_strategy.ulysses import Ulysses

from .recorded import Outcome
from .sequence_runs import HEADS, Case, Lengths, Said, a_batch, language_model, passes, refusal, train
from .test_conformance import assert_same_run, difference

pytestmark = pytest.mark.usefixtures("one_thread")

HOLDS = {"ddp": Whole, "fsdp2": FullyShard()}
ROWS: dict[str, Lengths] = {
    "odd": ((7, (5, 1, 9)), (3, (4,)), (1, (3, 8))),
    "shorter than its ranks": ((1, (1,)),),
    "empty": (),
}


def llama(**changes: Any) -> Case:
    return Case(changes=tuple((HEADS | changes).items()))


MODELS: dict[str, tuple[Case, float]] = {
    "grouped queries": (llama(), 1e-9),
    "one key head": (llama(num_key_value_heads=1), 1e-9),
    "as many key heads": (llama(num_key_value_heads=4), 1e-9),
    "12 heads, 3 key heads": (llama(hidden_size=48, num_attention_heads=12, num_key_value_heads=3), 1e-9),
    "checkpointing": (replace(llama(), checkpointing=True), 1e-9),
    "windows": (replace(llama(sliding_window=4), family="Mistral"), 1e-9),
    "norms of heads": (replace(llama(), family="Qwen3"), 1e-9),
    "learnt positions": (replace(llama(), family="GPT2"), 1e-9),
    "narrower values": (replace(llama(num_key_value_heads=4), family="DeepseekV3", dtype="float32"), 1e-4),
}


@cache
def alone(case: Case) -> Outcome:
    return train(case.alone)


@cache
def passes_alone(case: Case, row: str) -> Said:
    return passes(case, ROWS[row])


def assert_same_passes(said: list[Said], expected: Said, tolerance: float, sp_size: int) -> None:
    for each in said:
        for mine, first, theirs in (
            (each.logprobs, said[0].logprobs, expected.logprobs),
            (each.entropy, said[0].entropy, expected.entropy),
        ):
            numpy.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)
            assert numpy.array_equal(mine, first), "all ranks have the same bits"
        assert each.gradient.keys() == expected.gradient.keys()
        for name, matrix in expected.gradient.items():
            missed = numpy.linalg.norm(each.gradient[name] - matrix)
            assert missed <= tolerance * (1e-3 + numpy.linalg.norm(matrix)), name
        assert each.counted == expected.counted, "the ranks of a row tell its metrics once"
        assert each.computed == -(-expected.computed // sp_size), "each computes its slice alone"


def test_the_odd_row_is_odd() -> None:
    row, ids, _ = flatten(a_batch(ROWS["odd"]))
    assert row.tokens == ids.shape[1]
    assert row.tokens % 2 and row.tokens % 4


@pytest.mark.parametrize("name", MODELS)
def test_a_row_on_two_ranks_has_the_numbers_and_the_gradient_of_one(processes, name: str) -> None:
    case, tolerance = MODELS[name]
    expected = passes_alone(case, "odd")
    assert all(numpy.linalg.norm(gradient) > 0 for gradient in expected.gradient.values() if gradient.size > 8)
    assert_same_passes(processes(2).run(passes, replace(case, sp_size=2), ROWS["odd"]), expected, tolerance, 2)


@pytest.mark.parametrize("row", ["shorter than its ranks", "empty"])
def test_a_row_that_leaves_ranks_without_a_token_is_computed_by_all(processes, row: str) -> None:
    case, tolerance = MODELS["grouped queries"]
    said = processes(2).run(passes, replace(case, sp_size=2), ROWS[row])
    assert_same_passes(said, passes_alone(case, row), tolerance, 2)


@pytest.mark.proof
@pytest.mark.parametrize("sp_size", [2, 4])
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", MODELS)
def test_a_row_on_four_ranks_has_the_numbers_and_the_gradient_of_one(processes, name, row: str, sp_size: int) -> None:
    case, tolerance = MODELS[name]
    said = processes(4).run(passes, replace(case, sp_size=sp_size), ROWS[row])
    assert_same_passes(said, passes_alone(case, row), tolerance, sp_size)


@pytest.mark.parametrize("hold", [pytest.param("ddp", marks=pytest.mark.proof), "fsdp2"])
def test_two_ranks_a_row_make_the_run_of_one_process(processes, hold: str) -> None:
    case = Case(sp_size=2)
    assert numpy.isfinite(alone(case).losses).sum() >= 5, "the recorded rollouts teach something"
    assert max(alone(case).norms) > 1, "clipping takes part"
    assert_same_run(processes(2).run(train, case, HOLDS[hold]), alone(case), 1e-9)


@pytest.mark.proof
@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("sp_size", [2, 4])
@pytest.mark.parametrize(
    "case",
    [
        Case(optimiser_steps=20),
        Case(micro_batch=1),
        Case(micro_batch=16, checkpointing=True),
        Case(family="Qwen3"),
    ],
    ids=["twenty steps", "an answer each", "checkpointing", "Qwen3"],
)
def test_four_ranks_make_the_run_of_one_process(processes, case: Case, sp_size: int, hold: str) -> None:
    outcomes = processes(4).run(train, replace(case, sp_size=sp_size), HOLDS[hold])
    assert_same_run(outcomes, alone(case), 1e-9)


@pytest.mark.proof
@pytest.mark.parametrize("hold", HOLDS)
def test_an_adapter_and_its_reference_are_those_of_one_process(processes, hold: str) -> None:
    case = Case(sp_size=2, adapter=True)
    for outcome in processes(4).run(train, case, HOLDS[hold]):
        numpy.testing.assert_allclose(outcome.losses, alone(case).losses, rtol=1e-4, atol=1e-6)
        assert difference(outcome, alone(case)) < 1e-4, "an adapter is float32"


@pytest.mark.proof
@pytest.mark.parametrize("hold", HOLDS)
def test_policy_critic_and_reference_learn_together(processes, hold: str) -> None:
    case = Case(sp_size=2, dtype="float32", algorithm="ppo")
    for outcome in processes(4).run(train, case, HOLDS[hold]):
        numpy.testing.assert_allclose(outcome.losses, alone(case).losses, rtol=1e-4, atol=1e-4)
        assert difference(outcome, alone(case)) < 1e-3


@pytest.mark.proof
@pytest.mark.parametrize("sp_size", [2, 4])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_under_zero_the_run_is_that_of_one_process_in_float32(processes, stage: int, sp_size: int) -> None:
    pytest.importorskip("deepspeed")
    case = Case(sp_size=sp_size, dtype="float32")
    for outcome in processes(4).run(train, case, Zero(stage, persistence_threshold=0)):
        numpy.testing.assert_allclose(outcome.losses, alone(case).losses, rtol=1e-4, atol=1e-4)
        assert difference(outcome, alone(case)) < 1e-3


def test_a_model_whose_heads_the_ranks_cannot_share_is_refused_by_name(processes) -> None:
    case = replace(llama(hidden_size=48, num_attention_heads=3, num_key_value_heads=1), sp_size=2)
    expected = "LlamaForCausalLM has 3 attention heads, which 2 ranks cannot share equally"
    assert (
        processes(2).run(refusal, case)
        == [f"{expected}: set --sp_size to one of 1, 3, or --ring_attn_size in its place"] * 2
    )


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_whole_row_are_refused(kind: str) -> None:
    model = language_model(llama())
    Ulysses(None, 0, 2).require_sliceable(model)
    model.config.rope_parameters = {"rope_type": kind}
    with pytest.raises(ValueError, match=rf"LlamaForCausalLM has rotary positions that .* \({kind}\)"):
        Ulysses(None, 0, 2).require_sliceable(model)


def test_rows_that_are_not_packed_are_refused() -> None:
    with pytest.raises(ValueError, match="turn packing on"):
        LanguageActor(language_model(llama()), sequence_group=Ulysses(None, 0, 2))


def test_the_balance_of_routers_that_see_a_slice_of_each_row_is_refused() -> None:
    with pytest.raises(ValueError, match="leave balance or sequence_group out"):
        LanguageActor(language_model(llama()), packing=True, balance=True, sequence_group=Ulysses(None, 0, 2))
