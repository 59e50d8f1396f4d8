"""Compiled layers compute what they computed before, by as few graphs as there are kinds of calls."""

from __future__ import annotations

import shutil
from typing import Any

import numpy
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from lightrft_core import Batch, Prompt, SamplingParams
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import compiling
from lightrft_strategy.training.compiling import SampledUncompiled, compile_layers, uncompiled
from lightrft_strategy.training.fsdp2 import layers

from .compile_runs import compiled_run
from .recorded import a_batch, exactly, language_model

pytestmark = pytest.mark.usefixtures("one_thread")


def require_equal(one: Any, other: Any) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-9)
    assert one[1].keys() == other[1].keys()
    for name, weight in one[1].items():
        numpy.testing.assert_allclose(weight, other[1][name], rtol=1e-9, atol=1e-12)


def gradients(actor: LanguageActor, batch: Batch) -> list[torch.Tensor]:
    """The output and every weight's gradient of a sum over it."""
    output = actor(batch)
    output.logprobs.double().sum().backward()
    found = [weight.grad for weight in actor.parameters() if weight.grad is not None]
    actor.zero_grad()
    return [output.logprobs, output.entropy, *found]


@pytest.mark.proof
@pytest.mark.parametrize("packing", [True, False])
def test_a_compiled_run_is_the_run_without(packing: bool) -> None:
    require_equal(compiled_run("one", "aot_eager", packing), compiled_run("one", None, packing))


@pytest.mark.parametrize("packing", [True, pytest.param(False, marks=pytest.mark.proof)])
def test_layers_compute_what_they_did_by_graphs_they_share_whatever_the_shapes(packing: bool) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    actor = LanguageActor(exactly(language_model(num_hidden_layers=3), torch.float64), packing=packing, sharing=packing)
    compile_layers(actor, counter)
    for seed, answers, longest in ((0, 3, 5), (1, 2, 7), (2, 5, 6), (3, 4, 9)):
        batch = a_batch(seed, answers, longest=longest)
        compiled = gradients(actor, batch)
        if seed == 1:
            after_two = counter.frame_count
        with uncompiled(actor):
            torch.testing.assert_close(compiled, gradients(actor, batch), rtol=1e-9, atol=1e-12)
    assert 0 < counter.frame_count == after_two
    assert counter.frame_count <= 4, "fewer than one graph a layer and shape"


def test_sampling_is_left_uncompiled_and_learning_is_compiled_again_after_it() -> None:
    model = exactly(language_model(), torch.float64)
    plain = [layer.forward for layer in layers(model)]
    compile_layers(model, "eager")
    compiled = [layer.forward for layer in layers(model)]
    seen: list[Any] = []

    class Engine:
        def load_weights(self, version: int) -> int:
            return version

        def generate(self, prompts: Any, sampling: Any, *, step: int) -> list[Any]:
            seen.extend(layer.forward for layer in layers(model))
            return [prompts, step]

    engine = SampledUncompiled(Engine(), model)
    assert engine.load_weights(3) == 3
    assert engine.generate([Prompt("1", (), "", (1,))], SamplingParams(), step=5)[1] == 5
    assert seen == plain != compiled
    assert [layer.forward for layer in layers(model)] == compiled
    with pytest.raises(KeyError), uncompiled(model):
        raise KeyError
    assert [layer.forward for layer in layers(model)] == compiled


def test_layers_that_take_too_many_graphs_are_an_error_and_not_left_uncompiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "MOST_GRAPHS", 1)
    actor = LanguageActor(language_model(), packing=True)
    compile_layers(actor, "eager")
    with torch.no_grad():
        actor(a_batch(0))
    with pytest.raises(RuntimeError, match=r"LlamaDecoderLayer would take more than 1 compiled graphs.*--compile"):
        actor(a_batch(0))
    config = torch._dynamo.config
    assert not config.fail_on_recompile_limit_hit and config.recompile_limit > 1, "what others compile is theirs"


@pytest.mark.proof
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor writes C++ for the CPU")
def test_inductors_graphs_are_the_run_without(packing: bool, checkpointing: bool) -> None:
    require_equal(
        compiled_run("one", "inductor", packing, checkpointing), compiled_run("one", None, packing, checkpointing)
    )


@pytest.mark.proof
@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("hold", ["ddp", "fsdp2", "fsdp2 kept"])
def test_compiled_layers_on_two_ranks_are_the_run_of_one_without(processes, hold: str, packing: bool) -> None:
    alone = compiled_run("one", None, packing)
    for outcome in processes(2).run(compiled_run, hold, "aot_eager", packing, seconds=300):
        require_equal(outcome, alone)
