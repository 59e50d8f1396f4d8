"""What a model's passes cost, by its shape."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, Gemma4TextConfig

from lightrft_core import Cost
from lightrft_strategy.training.cost import cost_of

from .training.recorded import SMALL, language_model


def test_a_dense_models_layers_count_and_its_embeddings_do_not() -> None:
    cost = cost_of(language_model(num_hidden_layers=3, tie_word_embeddings=False))
    layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 40
    assert cost == Cost(linear=3 * layer, quadratic=3 * 32)
    assert cost_of(language_model(num_hidden_layers=3)) == cost, "whether the head is tied is all the same"


def test_of_a_mixtures_experts_those_count_that_a_token_is_sent_to() -> None:
    whole = cost_of(language_model("DeepseekV3", num_experts_per_tok=4))
    some = cost_of(language_model("DeepseekV3", num_experts_per_tok=2))
    assert whole.linear - some.linear == pytest.approx(2 * 3 * 32 * 24), "one layer of two is a mixture, of 4 experts"


GEMMA = {
    "global_head_dim": 16,
    "hidden_size_per_layer_input": 0,
    "num_kv_shared_layers": 0,
    "layer_types": ["sliding_attention", "full_attention"],
    "enable_moe_block": True,
    "num_experts": 4,
    "moe_intermediate_size": 24,
}


def test_gemma_4_has_another_word_for_the_experts_that_are_chosen() -> None:
    models = [AutoModelForCausalLM.from_config(Gemma4TextConfig(**SMALL | GEMMA, top_k_experts=k)) for k in (4, 2)]
    whole, some = map(cost_of, models)
    assert whole.linear - some.linear == pytest.approx(2 * 2 * 3 * 32 * 24), "both layers have 4 experts"


def test_experts_of_which_nothing_says_how_many_are_chosen_count_in_full() -> None:
    model = language_model("DeepseekV3", num_experts_per_tok=4)
    whole = cost_of(model)
    model.config.num_experts_per_tok = None
    assert cost_of(model) == whole
