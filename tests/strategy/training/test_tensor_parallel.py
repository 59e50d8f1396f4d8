"""Layers that ranks hold in slices: the losses, the gradients and the weights of one process, whatever the layout."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import transformers
from torch import nn

from lightrft_strategy.language import LanguageActor
from lightrft_strategy.lora import add_adapter
from lightrft_strategy.training.fsdp2 import layers
from lightrft_strategy.training.slices import require_slices, slice_layers

from .float16_runs import FITTING
from .recorded import Outcome
from .tensor_runs import (
    SHAPE,
    Case,
    averaged,
    exported,
    filled,
    language_model,
    overflowing,
    patience,
    refusal,
    resumed,
    saved,
    shares,
    train,
)
from .test_conformance import assert_same_run, difference
from .test_resume_layouts import identical

pytestmark = pytest.mark.usefixtures("one_thread")

REPORT = Path(__file__).parents[3] / "docs" / "benchmarks" / "tensor_parallel.json"
QWEN3 = Case(tp_size=2, family="Qwen3")
ZERO = Case(2, dtype="float32", zero=2)
"""DeepSpeed's layers: masters in float32, and nothing else."""
BIASES = (("attention_bias", True), ("mlp_bias", True))
FOUR_KEY_HEADS = (("num_key_value_heads", 4),)
UNEVEN = (("intermediate_size", 42),)
PROVEN: list[tuple[int, Case]] = [
    *((world, Case(2, packing=packing, optimiser_steps=20)) for world in (2, 4) for packing in (True, False)),
    *((world, replace(QWEN3, packing=packing)) for world in (2, 4) for packing in (True, False)),
    (4, Case(4, family="Qwen3", changes=FOUR_KEY_HEADS)),
    (4, Case(2, sp_size=2, optimiser_steps=20)),
    (4, Case(2, sp_size=2, family="Qwen3")),
    (4, Case(2, changes=BIASES)),
    (4, Case(2, changes=UNEVEN, checkpointing=True)),
    (4, Case(2, micro_batch=1)),
    (4, Case(2, micro_batch=16, offload=True)),
    (2, Case(2, family="Qwen2")),
    (2, Case(2, family="Mistral", changes=(("sliding_window", 4),))),
    (2, Case(2, family="Phi3")),
    (2, Case(2, family="Olmo2")),
    *(
        (world, Case(2, family="Gemma", dtype="float32", packing=packing))
        for world in (2, 4)
        for packing in (True, False)
    ),
    (2, Case(2, family="Gemma3Text", dtype="float32")),
    *((world, replace(ZERO, zero=zero, optimiser_steps=20)) for world in (2, 4) for zero in (1, 2)),
    *((world, replace(ZERO, family="Qwen3", packing=packing)) for world in (2, 4) for packing in (True, False)),
    (4, replace(ZERO, tp_size=4, family="Qwen3", changes=FOUR_KEY_HEADS)),
    (4, replace(ZERO, sp_size=2, family="Qwen3")),
    (4, replace(ZERO, changes=BIASES)),
    (4, replace(ZERO, changes=UNEVEN, checkpointing=True, offload=True)),
    (4, replace(ZERO, zero=1, micro_batch=1)),
    *((2, replace(ZERO, family=family)) for family in ("Qwen2", "Phi3", "Olmo2", "Gemma", "Gemma3Text")),
    (2, replace(ZERO, family="Mistral", changes=(("sliding_window", 4),))),
]


@cache
def alone(case: Case) -> Outcome:
    return train(case.alone)


def require_deepspeed(zero: int) -> None:
    """Skip the test where the slices are DeepSpeed's and it is not installed."""
    if zero:
        pytest.importorskip("deepspeed")


def bound(case: Case) -> float:
    """Gemma's norms are computed in float32 whatever the model is in."""
    return 1e-9 if case.dtype == "float64" else 1e-4


def test_two_ranks_a_layer_make_the_run_of_one_process(processes) -> None:
    case = replace(QWEN3, optimiser_steps=4)
    expected = alone(case)
    assert numpy.isfinite(expected.losses).sum() >= 3, "the recorded rollouts teach something"
    assert max(expected.norms) > 1, "clipping takes part"
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in expected.weights} >= {"q_norm", "k_norm", "q_proj"}
    assert_same_run(processes(2).run(train, case), expected, 1e-9)


def test_so_do_two_ranks_a_layer_of_deepspeed(processes) -> None:
    pytest.importorskip("deepspeed")
    case = replace(ZERO, family="Qwen3", optimiser_steps=4)
    assert_same_run(processes(2).run(train, case), alone(case), 1e-4)


def test_deepspeed_slices_layers_alone_and_the_export_is_whole(processes) -> None:
    pytest.importorskip("deepspeed")
    case = replace(ZERO, changes=(("tie_word_embeddings", False),))
    assert processes(2).run(exported, case) == [(True, True, True)] * 2


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_every_layout_and_family_makes_the_run_of_one_process(processes) -> None:
    """Writes docs/benchmarks/tensor_parallel.json, which is not written unless all of it holds."""
    rows = []
    for world, case in PROVEN:
        outcomes = processes(world).run(train, case)
        assert_same_run(outcomes, alone(case), bound(case))
        rows.append(told(world, case, outcomes[0], alone(case)))
    content = {
        "what": "runs on recorded rollouts whose layers ranks hold in slices (--tp_size; with --sp_size also rows), "
        "compared with the run of one process: the largest relative difference of any step's loss and gradient norm, "
        "and of any tensor's weights and moments at the end",
        "torch": version("torch"),
        "transformers": version("transformers"),
        "runs": rows,
    }
    REPORT.write_text(json.dumps(content, indent=2) + "\n")


def told(world: int, case: Case, found: Outcome, expected: Outcome) -> dict[str, Any]:
    curves = {"loss": (found.losses, expected.losses), "norm": (found.norms, expected.norms)}
    numbers = {
        name: float(numpy.nanmax(numpy.abs(numpy.subtract(mine, theirs)) / numpy.abs(theirs)))
        for name, (mine, theirs) in curves.items()
    }
    return {
        "family": case.family,
        "ranks": world,
        "tp_size": case.tp_size,
        "sp_size": case.sp_size,
        "held_by": f"ZeRO {case.zero}" if case.zero else "FSDP2",
        "packing": case.packing,
        "dtype": case.dtype,
        "steps": len(expected.losses),
        "micro_batch": case.micro_batch,
        "also": [name for name in ("checkpointing", "offload") if getattr(case, name)] + [*map(list, case.changes)],
        "relative_difference": numbers | {"weights and moments": difference(found, expected)},
    }


@pytest.mark.proof
@pytest.mark.parametrize(("world", "zero"), [(2, 0), (4, 0), (2, 2), (4, 1)])
def test_policy_critic_and_reference_learn_together(processes, world: int, zero: int) -> None:
    require_deepspeed(zero)
    case = Case(2, dtype="float32", algorithm="ppo", zero=zero)
    for outcome in processes(world).run(train, case):
        numpy.testing.assert_allclose(outcome.losses, alone(case).losses, rtol=1e-4, atol=1e-4)
        assert difference(outcome, alone(case)) < 1e-3


@pytest.mark.proof
def test_in_bfloat16_a_run_is_as_near_to_float32_as_that_of_one_process(processes) -> None:
    case = Case(2, dtype="float32", bf16=True)
    exact = alone(replace(case, bf16=False))
    rounding = difference(alone(case), exact)
    for outcome in processes(4).run(train, case):
        numpy.testing.assert_allclose(outcome.losses, exact.losses, rtol=0.05, atol=0.05)
        assert difference(outcome, exact) < 2 * rounding


@pytest.mark.proof
@pytest.mark.parametrize("zero", [0, 2])
def test_in_float16_a_run_is_as_near_to_float32_as_that_of_one_process(processes, zero: int) -> None:
    require_deepspeed(zero)
    case = Case(2, dtype="float32", fp16=True, zero=zero)
    exact = alone(replace(case, fp16=False))
    rounding = difference(alone(case), exact)
    for outcome in processes(4).run(train, case):
        numpy.testing.assert_allclose(outcome.losses, exact.losses, rtol=0.03, atol=0.01)
        assert difference(outcome, exact) < 2 * rounding


@pytest.mark.parametrize("zero", [0, pytest.param(2, marks=pytest.mark.proof)])
def test_in_float16_an_overflow_halves_the_scale_on_all_ranks_and_skips_the_step(processes, zero: int) -> None:
    require_deepspeed(zero)
    expected = {
        "scales": [FITTING, FITTING, FITTING // 2, FITTING // 2],
        "overflowed": [False, True, False, False],
        "faults": [""] * 4,
        "moved": [True, False, True, True],
    }
    assert processes(2).run(overflowing, Case(2, dtype="float32", fp16=True, zero=zero)) == [expected] * 2


@pytest.mark.proof
@pytest.mark.parametrize(
    ("before", "after", "world"),
    [
        (Case(2), Case(2).alone, 1),
        (Case(2).alone, Case(2), 4),
        (Case(2), Case(2), 4),
        (Case(2), Case(1), 2),
        (replace(QWEN3, changes=UNEVEN), Case(4, family="Qwen3", changes=(*UNEVEN, *FOUR_KEY_HEADS)).alone, 1),
    ],
    ids=["to one", "from one", "the same", "to shards of whole layers", "uneven"],
)
def test_a_checkpoint_goes_on_in_another_layout(
    processes, tmp_path: Path, before: Case, after: Case, world: int
) -> None:
    before, after = replace(before, optimiser_steps=20), replace(after, optimiser_steps=20, changes=before.changes)
    processes(4 if before.tp_size else 1).run(saved, before, 1, tmp_path)
    (straight,) = processes(1).run(resumed, before.alone, range(3), None)
    for found in processes(world).run(resumed, after, range(1, 3), tmp_path):
        taken = len(found.losses)
        numpy.testing.assert_allclose(found.losses, straight.losses[-taken:], rtol=1e-9)
        numpy.testing.assert_allclose(found.norms, straight.norms[-taken:], rtol=1e-9)
        assert found.state.keys() == straight.state.keys()
        for name, tensor in straight.state.items():
            assert numpy.linalg.norm(found.state[name] - tensor) <= 1e-9 * numpy.linalg.norm(tensor), name
    if before == after:
        whole = processes(world).run(resumed, before, range(3), None)[0]
        assert all(identical(found, whole) for found in processes(world).run(resumed, after, range(1, 3), tmp_path))


@pytest.mark.parametrize("zero", [pytest.param(0, marks=pytest.mark.proof), 1])
def test_a_checkpoint_of_deepspeeds_slices_goes_on(processes, tmp_path: Path, zero: int) -> None:
    """With the same bits on the same layout; to one process, and there from FSDP2's slices too."""
    require_deepspeed(zero)
    case = replace(ZERO, zero=zero, optimiser_steps=20)
    processes(2).run(saved, case, 1, tmp_path)
    straight = processes(2).run(resumed, case, range(2), None)[0]
    assert all(identical(found, straight) for found in processes(2).run(resumed, case, range(1, 2), tmp_path))
    (found,) = processes(1).run(resumed, case.alone, range(1, 2), tmp_path)
    numpy.testing.assert_allclose(found.losses, straight.losses[-len(found.losses) :], rtol=1e-4, atol=1e-6)
    for name, tensor in straight.state.items():
        assert numpy.linalg.norm(found.state[name] - tensor) <= 2e-3 * numpy.linalg.norm(tensor) + 1e-6, name


@pytest.mark.parametrize("case", [Case(2, dtype="float32"), replace(ZERO, zero=1)], ids=["fsdp2", "zero 1"])
def test_slices_keep_the_moving_average_of_one_process(processes, tmp_path: Path, case: Case) -> None:
    require_deepspeed(case.zero)
    expected, _, _ = averaged(case.alone, tmp_path / "alone")
    for found, within, same in processes(2).run(averaged, case, tmp_path / "slices"):
        assert same, "a resumed average has the same bits"
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            numpy.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
            assert numpy.array_equal(within[name.removeprefix("ema.")], found[name]), name


def test_ranks_of_a_row_wait_for_one_another_as_long_as_they_are_told(processes) -> None:
    waited = processes(2).run(patience, 2.0)
    assert [len(each) for each in waited] == [1, 0]
    assert 1.5 < waited[0][0] < 30


@pytest.mark.proof
def test_a_rank_holds_its_shard_of_its_slice(processes) -> None:
    for of_layers, outside in processes(4).run(shares, Case(2)):
        assert of_layers == pytest.approx(0.25, abs=0.02)
        assert outside == pytest.approx(0.5, abs=0.02)


@pytest.mark.proof
@pytest.mark.parametrize("family", ["Llama", "Qwen3"])
def test_a_model_filled_slice_by_slice_is_the_one_loaded_whole(processes, tmp_path: Path, family: str) -> None:
    case = Case(2, dtype="float32", family=family, changes=UNEVEN)
    language_model(case).save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    whole = processes(4).run(filled, case, tmp_path, False)
    for mine, theirs in zip(processes(4).run(filled, case, tmp_path, True), whole, strict=True):
        assert mine.keys() == theirs.keys()
        assert all(numpy.array_equal(mine[name], theirs[name]) for name in theirs)


# What cannot be


@pytest.mark.parametrize(
    ("family", "changes", "sizes", "complaint"),
    [
        ("Llama", {"num_attention_heads": 2}, (4,), "type llama has 2 attention heads, which 4 ranks cannot share"),
        ("Llama", {"num_key_value_heads": 1}, (2,), "has 1 key heads, which 2 ranks .*: set --tp_size to one of 1$"),
        ("Qwen3", {"intermediate_size": 41}, (2,), "has 41 inner numbers of an MLP, which 2 ranks cannot share"),
        ("Llama", {}, (2, 4), "has 4 attention heads, which --tp_size 2 x --sp_size 4 ranks cannot share equally"),
        ("GPT2", {}, (2,), "type gpt2 brings no plan for slices of its layers: leave --tp_size out"),
        ("DeepseekV3", {}, (2,), "slices of layers.*.mlp.experts.gate_up_proj of the kind packed_colwise; known here"),
        ("Qwen3Moe", {}, (2,), "of the kind packed_colwise; known here are colwise, rowwise"),
    ],
)
def test_what_ranks_cannot_share_is_told_from_the_configuration_alone(
    family: str, changes: dict[str, int], sizes: tuple[int, ...], complaint: str
) -> None:
    config = getattr(transformers, f"{family}Config")(**SHAPE | changes)
    with pytest.raises(ValueError, match=complaint):
        require_slices(config, *sizes)


def test_sizes_that_fit_are_let_through() -> None:
    for sizes in ((2,), (2, 2)):
        require_slices(transformers.Qwen3Config(**SHAPE), *sizes)


MESH: Any = SimpleNamespace(size=lambda: 2)


def test_an_adapter_is_refused_by_the_layer_it_stands_on() -> None:
    pytest.importorskip("peft")
    model = language_model(Case())
    add_adapter(model, rank=2, alpha=4, seed=1)
    actor = LanguageActor(model)
    with pytest.raises(
        ValueError, match=r"LlamaForCausalLM has .*, and only plain linear layers can be held in slices"
    ):
        slice_layers(actor, layers(actor), MESH)


def test_a_weight_that_the_plan_forgets_beside_slices_is_refused() -> None:
    actor = LanguageActor(language_model(Case()))
    actor.model.model.layers[1].self_attn.q_norm = nn.RMSNorm(8)
    with pytest.raises(ValueError, match=r"has weights in model.layers.1.self_attn.q_norm, beside layers"):
        slice_layers(actor, layers(actor), MESH)


@pytest.mark.parametrize("zero", [0, 2])
def test_ranks_with_micro_batches_of_their_own_are_refused(processes, zero: int) -> None:
    for said in processes(2).run(refusal, zero):
        assert said.startswith(
            "1 ranks compute every micro-batch together, which cannot be cut into groups of tp_size 2"
        )
