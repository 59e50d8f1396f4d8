"""What a model's passes cost, by its shape."""

from __future__ import annotations

import pytest

from lightrft_core import Cost
from lightrft_strategy.training.cost import cost_of

from .training.recorded import language_model


def test_a_dense_models_layers_count_and_its_embeddings_do_not() -> None:
    cost = cost_of(language_model(num_hidden_layers=3, tie_word_embeddings=False))
    layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 40
    assert cost == Cost(linear=3 * layer, quadratic=3 * 32)
    assert cost_of(language_model(num_hidden_layers=3)) == cost, "whether the head is tied is all the same"


def test_of_a_mixtures_experts_those_count_that_a_token_is_sent_to() -> None:
    whole = cost_of(language_model("DeepseekV3", num_experts_per_tok=4))
    some = cost_of(language_model("DeepseekV3", num_experts_per_tok=2))
    assert whole.linear - some.linear == pytest.approx(2 * 3 * 32 * 24), "one layer of two is a mixture, of 4 experts"
