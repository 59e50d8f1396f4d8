"""The load-balancing loss of a mixture of experts, against transformers' own and the formula, whatever the layout."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from lightrft_core import Batch, TrainingSequence, collate
from lightrft_core.batching import read_tokens
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.routing import Routers, Routing, load_balancing_loss, read_counts

from .training import recorded

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY = 50
MOE: dict[str, dict[str, Any]] = {
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Qwen3Moe": {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "head_dim": 16},
    "DeepseekV3": recorded.MOE | {"num_key_value_heads": 4},
}


def sequences(seed: int, *, groups: int = 3) -> list[TrainingSequence]:
    """Answers to some prompts; not every token of theirs carries loss, and of one none does."""
    rng, found = random.Random(seed), []
    for group in range(groups):
        prompt = tuple(rng.randrange(VOCABULARY) for _ in range(rng.randint(1, 6)))
        for _ in range(rng.randint(1, 3)):
            answer = [rng.randrange(VOCABULARY) for _ in range(rng.randint(1, 6))]
            mask = [rng.random() < 0.7 for _ in answer] if group else [True] * len(answer)
            numbers = torch.ones(sum(mask))
            found.append(TrainingSequence(prompt, answer, mask, 1.0, numbers, numbers))
    return found


def one_by_one(model: Any, parts: list[TrainingSequence]) -> list[Tensor]:
    """Logits of each layer for every token that some loss depends on, each sequence computed alone."""
    layers: list[list[Tensor]] = []
    for sequence in parts:
        count = read_tokens(sequence)
        if count:
            ids = torch.tensor([[*sequence.prompt_ids, *sequence.response_ids][:count]])
            logits = model.base_model(input_ids=ids, output_router_logits=True, use_cache=False).router_logits
            layers.append(list(logits))
    return [torch.cat(each) for each in zip(*layers, strict=True)]


def by_the_formula(logits: list[Tensor], k: int) -> Tensor:
    """E * sum_e f_e P_e over the tokens of all layers, in float64."""
    law = torch.cat(logits).double().softmax(-1)
    chosen = torch.zeros_like(law).scatter_(1, law.topk(k, -1).indices, 1.0)
    return law.shape[1] * (chosen.mean(0) * law.mean(0)).sum()


@pytest.mark.parametrize("family", ["Mixtral", "Qwen3Moe"])
def test_value_and_gradient_are_transformers_own_on_a_batch_without_padding(tiny_model, family: str) -> None:
    """Theirs adds up in float32; ours agrees with the formula in float64 besides."""
    model = tiny_model(family=family, vocab_size=VOCABULARY, **MOE[family]).double()
    model.set_experts_implementation("eager")
    routers, ids = Routers(model), torch.randint(VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(0))
    config = model.config
    experts = getattr(config, "num_experts", None) or config.num_local_experts
    theirs = model.base_model(input_ids=ids, output_router_logits=True).router_logits
    reference = load_balancing_loss_func(theirs, experts, config.num_experts_per_tok)
    with routers.noting() as layers:
        model.base_model(input_ids=ids)
    ours, exact = load_balancing_loss(layers, torch.ones(21)), by_the_formula(theirs, config.num_experts_per_tok)
    assert ours.item() == pytest.approx(reference.item(), rel=1e-6)
    assert ours.item() == pytest.approx(exact.item(), rel=1e-12)
    learning = [weight for name, weight in model.named_parameters() if ".gate." in name or "embed" in name]
    found, rough, wanted = (torch.autograd.grad(loss, learning, retain_graph=True) for loss in (ours, reference, exact))
    for mine, float32, float64 in zip(found, rough, wanted, strict=True):
        assert float64.any()
        torch.testing.assert_close(mine, float64, rtol=1e-10, atol=1e-14)
        assert (mine - float32).norm() < 1e-5 * float32.norm()


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("family", MOE)
def test_each_answer_counts_with_its_prompt_and_padding_does_not(
    tiny_model, family: str, sharing: bool, packing: bool
) -> None:
    """The loss of a batch, padded or packed, prompts shared or not, is that of its answers computed one by one."""
    model = tiny_model(family=family, vocab_size=VOCABULARY, **MOE[family])
    parts = sequences(1)
    expected = by_the_formula(one_by_one(model, parts), model.config.num_experts_per_tok)
    actor = LanguageActor(model, packing=packing, sharing=sharing, balance=True)
    output = actor(collate(parts))
    assert output.aux_loss is not None and output.aux_loss.item() == pytest.approx(expected.item(), rel=1e-5)
    output.aux_loss.backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in model.parameters())


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), packing=st.booleans(), sharing=st.booleans())
def test_the_counts_add_up_to_the_tokens_that_are_read(seed: int, packing: bool, sharing: bool) -> None:
    parts = sequences(seed)
    counts = read_counts(collate(parts), packing=packing, sharing=sharing)
    assert counts.sum() == sum(map(read_tokens, parts))


def test_a_deepseek_routers_bias_counts_by_where_tokens_went_not_by_their_logits(tiny_model) -> None:
    model = tiny_model(family="DeepseekV3", vocab_size=VOCABULARY, **MOE["DeepseekV3"])
    routers = Routers(model)
    gate = model.model.layers[1].mlp.gate
    gate.e_score_correction_bias.copy_(torch.tensor([-9.0, -9.0, 9.0, 9.0]))
    with routers.noting() as layers:
        model.base_model(input_ids=torch.arange(9)[None])
    ((routing,),) = layers
    assert set(routing.chosen.flatten().tolist()) == {2, 3}
    law = routing.logits.detach().double().softmax(-1).mean(0)
    assert load_balancing_loss(layers, torch.ones(9)).item() == pytest.approx(4 * float(law[2] + law[3]), rel=1e-5)


def test_even_use_costs_k_and_the_use_of_few_up_to_the_number_of_experts() -> None:
    even = Routing(torch.zeros(4, 4), torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]]))
    assert load_balancing_loss([[even]], torch.ones(4)).item() == pytest.approx(2)
    one = Routing(torch.tensor([[50.0, 0, 0, 0]] * 4), torch.zeros(4, 1, dtype=torch.long))
    assert load_balancing_loss([[one]], torch.ones(4)).item() == pytest.approx(4)


def test_a_batch_without_tokens_costs_nothing_and_has_a_gradient_of_zero(tiny_model) -> None:
    model = tiny_model(family="Mixtral", vocab_size=VOCABULARY, **MOE["Mixtral"])
    loss = LanguageActor(model, balance=True)(collate([])).aux_loss
    assert loss is not None and loss.item() == 0
    loss.backward()
    assert not any(weight.grad is not None and weight.grad.any() for weight in model.parameters())


@pytest.mark.parametrize("packing", [False, True])
def test_activations_that_are_computed_again_change_neither_loss_nor_gradient(tiny_model, packing: bool) -> None:
    def outcome(again: bool) -> list[Tensor]:
        model = tiny_model(family="Mixtral", vocab_size=VOCABULARY, **MOE["Mixtral"])
        if again:
            model.gradient_checkpointing_enable()
            model.train()
        output = LanguageActor(model, packing=packing, balance=True)(collate(sequences(2)))
        (output.aux_loss + output.logprobs.sum()).backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        return [output.aux_loss.detach(), *gradients]

    for one, other in zip(outcome(False), outcome(True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_scoring_without_a_gradient_asks_no_router(tiny_model) -> None:
    actor = LanguageActor(tiny_model(family="Mixtral", vocab_size=VOCABULARY, **MOE["Mixtral"]), balance=True)
    with torch.no_grad():
        assert actor(collate(sequences(3))).aux_loss is None


def test_a_model_without_routers_is_named(tiny_model) -> None:
    with pytest.raises(ValueError, match=r"LlamaForCausalLM has no routers .* leave --aux_loss_coef out"):
        LanguageActor(tiny_model(), balance=True)


def test_routers_that_do_not_say_what_they_chose_are_refused(tiny_model) -> None:
    model = tiny_model(family="Mixtral", vocab_size=VOCABULARY, **MOE["Mixtral"])
    for layer in model.model.layers:
        layer.mlp.gate.register_forward_hook(lambda gate, inputs, output: output[:1] + output[1:2] * 2)
    with pytest.raises(ValueError, match=r"MixtralForCausalLM \(MixtralTopKRouter\) do not say which experts"):
        Routers(model)


def test_the_share_of_each_micro_batch_weighs_its_tokens(tiny_model) -> None:
    """Where all micro-batches use the experts alike, the step's loss and gradient do not depend on how it is cut."""
    model = tiny_model(family="Mixtral", vocab_size=VOCABULARY, **MOE["Mixtral"])
    actor, parts = LanguageActor(model, balance=True), [*sequences(5), *sequences(5)]
    for sequence in parts:
        sequence.share = read_tokens(sequence) / sum(map(read_tokens, parts))
    half = len(parts) // 2

    def gradient(batches: list[Batch]) -> tuple[float, Tensor]:
        model.zero_grad()
        total = sum(batch.share * actor(batch).aux_loss for batch in batches)
        total.backward()
        return total.item(), torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])

    cut_loss, cut = gradient([collate(parts[:half]), collate(parts[half:])])
    loss, expected = gradient([collate(parts)])
    assert cut_loss == pytest.approx(loss, rel=1e-5)
    assert (cut - expected).norm() < 1e-4 * expected.norm()
