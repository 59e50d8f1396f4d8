"""A packed row on a ring of ranks: the numbers, the gradient and the training run of one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import pytest

from lightrft_strategy.ring import Ring
from lightrft_strategy.training import FullyShard, Hold, Whole
from lightrft_strategy.training.zero import Zero

from . import tensor_runs
from .processes import Processes
from .recorded import Outcome
from .ring_runs import peak
from .sequence_runs import Case, Said, begun, gone_on, language_model, passes, refusal, train
from .test_conformance import assert_same_run, difference
from .test_sequence_parallel import ROWS, alone, llama

pytestmark = pytest.mark.usefixtures("one_thread")

Groups = Callable[[int], Processes]
REPORT = Path(__file__).parents[3] / "docs" / "benchmarks" / "ring_attention.json"
HOLDS: dict[str, Hold] = {"ddp": Whole, "fsdp2": FullyShard()}
THREE = {"hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 1}
TWO = {"num_attention_heads": 2, "num_key_value_heads": 1}

MODELS: dict[str, Case] = {
    "grouped queries": llama(),
    "three heads": llama(**THREE),
    "two heads": llama(**TWO),
    "checkpointing": replace(llama(), checkpointing=True),
    "windows": replace(llama(sliding_window=4, **TWO), family="Mistral"),
    "norms of heads": replace(llama(), family="Qwen3"),
    "learnt positions": replace(llama(), family="GPT2"),
    "Gemma": replace(llama(), family="Gemma"),
    "Gemma with windows": replace(llama(sliding_window=4, sliding_window_pattern=2, **THREE), family="Gemma3Text"),
    "narrower values and experts": replace(llama(num_key_value_heads=4), family="DeepseekV3"),
}
FEW = {"three heads", "windows", "Gemma with windows", "narrower values and experts"}
"""Of these, which are tried every time."""


@cache
def passes_alone(case: Case, row: str) -> Said:
    return passes(case.alone, ROWS[row])


def on_ring(case: Case, size: int) -> Case:
    return replace(case, sp_size=size, ring=True)


def missed(said: list[Said], expected: Said, size: int) -> dict[str, float]:
    """The largest relative differences from one process of a row's log-probabilities, entropies and gradients."""
    worst = {"logprobs": 0.0, "entropy": 0.0, "gradient": 0.0}
    for each in said:
        for name in ("logprobs", "entropy"):
            mine, theirs = getattr(each, name), getattr(expected, name)
            assert numpy.array_equal(mine, getattr(said[0], name)), "all ranks have the same bits"
            worst[name] = max(worst[name], float(numpy.linalg.norm(mine - theirs) / (numpy.linalg.norm(theirs) + 1e-3)))
        assert each.gradient.keys() == expected.gradient.keys()
        for name, matrix in expected.gradient.items():
            wrong = numpy.linalg.norm(each.gradient[name] - matrix) / (1e-3 + numpy.linalg.norm(matrix))
            worst["gradient"] = max(worst["gradient"], float(wrong))
        assert each.counted == expected.counted, "the ranks of a row tell its metrics once"
        assert each.computed == 2 * -(-expected.computed // (2 * size)), "each computes its slice alone"
    return worst


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.proof) for name in MODELS]
)
def test_a_row_on_a_ring_of_two_has_the_numbers_and_the_gradient_of_one(processes: Groups, name: str) -> None:
    expected = passes_alone(MODELS[name], "odd")
    learning = [matrix for matrix in expected.gradient.values() if matrix.size > 8]
    assert sum(numpy.linalg.norm(matrix) > 0 for matrix in learning) > 0.8 * len(learning)
    said = processes(2).run(passes, on_ring(MODELS[name], 2), ROWS["odd"])
    assert max(missed(said, expected, 2).values()) < 1e-9


@pytest.mark.parametrize("row", ["shorter than its ranks", "empty"])
def test_a_row_that_leaves_ranks_without_a_token_is_computed_by_all(processes: Groups, row: str) -> None:
    said = processes(2).run(passes, on_ring(llama(), 2), ROWS[row])
    assert max(missed(said, passes_alone(llama(), row), 2).values()) < 1e-9


def test_four_ranks_share_a_row_of_a_model_with_two_heads(processes: Groups) -> None:
    """Which Ulysses cannot spread over so many."""
    case = llama(**TWO)
    said = processes(4).run(passes, on_ring(case, 4), ROWS["odd"])
    assert max(missed(said, passes_alone(case, "odd"), 4).values()) < 1e-9
    assert all("2 attention heads" in each for each in processes(4).run(refusal, replace(case, sp_size=4)))


def test_a_ring_of_two_in_shards_makes_the_run_of_one_process(processes: Groups) -> None:
    assert_same_run(processes(2).run(train, on_ring(Case(), 2), HOLDS["fsdp2"]), alone(Case()), 1e-9)


def test_a_run_begun_on_a_ring_goes_on_in_one_process(processes: Groups, tmp_path: Path) -> None:
    case = Case(optimiser_steps=20)
    processes(2).run(begun, on_ring(case, 2), Whole, 2, tmp_path)
    assert difference(gone_on(case, Whole, 2, tmp_path), alone(case)) <= 1e-9


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_whole_row_are_refused(kind: str) -> None:
    model, ring = language_model(llama(**THREE)), Ring(None, 0, 2)  # type: ignore[arg-type]
    ring.require_sliceable(model)
    model.config.rope_parameters = {"rope_type": kind}
    with pytest.raises(ValueError, match=rf"LlamaForCausalLM has .* \({kind}\), .*: leave --ring_attn_size out"):
        ring.require_sliceable(model)


@pytest.mark.proof
def test_layers_in_slices_and_rows_on_a_ring_make_the_run_of_one_process(processes: Groups) -> None:
    case = tensor_runs.Case(2, sp_size=2, ring=True)
    assert_same_run(processes(4).run(tensor_runs.train, case), tensor_runs.train(case.alone), 1e-9)


@pytest.mark.proof
def test_an_adapter_on_a_ring_is_that_of_one_process(processes: Groups) -> None:
    case = Case(adapter=True)
    for outcome in processes(4).run(train, on_ring(case, 2), HOLDS["fsdp2"]):
        assert difference(outcome, alone(case)) < 1e-4, "an adapter is float32"


# The proof


RUNS: list[tuple[Case, str, float]] = [
    *((Case(optimiser_steps=20), hold, 1e-9) for hold in HOLDS),
    *((Case(optimiser_steps=20, changes=tuple(TWO.items())), hold, 1e-9) for hold in HOLDS),
    *((replace(MODELS[name], optimiser_steps=6), "fsdp2", 1e-9) for name in MODELS if name != "grouped queries"),
    (Case(micro_batch=1), "fsdp2", 1e-9),
    (Case(micro_batch=16, checkpointing=True), "ddp", 1e-9),
    *((Case(dtype="float32"), f"zero {stage}", 1e-4) for stage in (1, 2, 3)),
]
"""(what is trained, how ranks hold it, how far weights may be from those of one process)."""


def hold_of(name: str) -> Hold:
    return HOLDS[name] if name in HOLDS else Zero(int(name.removeprefix("zero ")), persistence_threshold=0)


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_every_family_and_layout_is_that_of_one_process(processes: Groups) -> None:
    """Writes docs/benchmarks/ring_attention.json, which is not written unless all of it holds."""
    pytest.importorskip("deepspeed")
    rows = [row_told(processes, name, row, world) for name in MODELS for row in ROWS for world in (2, 4)]
    runs = [run_told(processes, *run, size) for run in RUNS for size in (2, 4)]
    content = {
        "what": "a packed row, and runs on recorded rollouts, of 4 processes or 2, of which `ring_attn_size` compute "
        "each row together, compared with one process: the largest relative differences of log-probabilities, "
        "entropies and gradients, and of any step's loss and gradient norm and any tensor's weights at the end; and "
        "the most bytes that were alive on one process at once in the forward and backward pass of one attention over "
        "a row, inputs and their gradients included",
        "torch": version("torch"),
        "transformers": version("transformers"),
        "rows": rows,
        "runs": runs,
        "attention_memory": memory_told(processes),
    }
    REPORT.write_text(json.dumps(content, indent=2) + "\n")


def row_told(processes: Groups, name: str, row: str, world: int) -> dict[str, Any]:
    case = MODELS[name]
    worst = missed(processes(world).run(passes, on_ring(case, world), ROWS[row]), passes_alone(case, row), world)
    assert max(worst.values()) < 1e-9, (name, row, world, worst)
    return {
        "model": name,
        "family": case.family,
        "row": row,
        "ring_attn_size": world,
        "dtype": case.dtype,
        "relative_difference": worst,
    }


def run_told(processes: Groups, case: Case, hold: str, tolerance: float, size: int) -> dict[str, Any]:
    outcomes = processes(4).run(train, on_ring(case, size), hold_of(hold))
    expected = alone(case)
    if tolerance <= 1e-9:
        assert_same_run(outcomes, expected, tolerance)
    return {
        "family": case.family,
        "heads": [dict(case.changes)[name] for name in ("num_attention_heads", "num_key_value_heads")],
        "ranks": 4,
        "ring_attn_size": size,
        "hold": hold,
        "dtype": case.dtype,
        "steps": len(expected.losses),
        "micro_batch": case.micro_batch,
        "checkpointing": case.checkpointing,
        "relative_difference": far(outcomes, expected, tolerance),
    }


def far(outcomes: list[Outcome], expected: Outcome, tolerance: float) -> dict[str, float]:
    """Loss and norm relative to the largest of the curve, where float32 is compared."""
    worst = {}
    for name in ("losses", "norms"):
        theirs = numpy.array(getattr(expected, name))
        wrong = max(float(numpy.nanmax(numpy.abs(getattr(each, name) - theirs))) for each in outcomes)
        worst[name] = wrong / float(numpy.nanmax(numpy.abs(theirs)))
    worst["weights"] = max(difference(each, expected) for each in outcomes)
    assert max(worst.values()) <= tolerance, worst
    return worst


def memory_told(processes: Groups) -> list[dict[str, Any]]:
    """Of a row of 32,768 tokens with 4 heads of 64 numbers, 2 of keys, in float32."""
    rows = []
    for kind, size in (("one process", 1), ("ring", 2), ("ring", 4), ("Ulysses", 2), ("Ulysses", 4)):
        said: list[int] = processes(size).run(peak, kind, size, 32768, seconds=600)
        rows.append({"attention": kind, "ranks": size, "tokens": 32768, "bytes": max(said)})
    one = rows[0]["bytes"]
    assert all(row["bytes"] * row["ranks"] < 1.3 * one for row in rows if row["attention"] == "ring")
    return [row | {"of_one_process": row["bytes"] / one} for row in rows]
