"""The memory traffic that decoding cannot do without."""

from __future__ import annotations

import pytest

from lightrft_core import FinishReason, Group, Prompt, Rollout
from lightrft_strategy.roofline import Roofline, memory_bandwidth


def group(prompt: int, *answers: int) -> Group:
    rollouts = [
        Rollout(i, [1] * tokens, [-1.0] * tokens, [True] * tokens, FinishReason.STOP, "")
        for i, tokens in enumerate(answers)
    ]
    return Group(Prompt("row", (), "", (1,) * prompt), rollouts)


def test_weights_are_read_once_a_step_and_keys_up_to_each_token() -> None:
    roofline = Roofline(weight_bytes=1000, kv_bytes=10, bandwidth=1e4)
    keys = (
        sum(10 * (7 + t) for t in range(3)) + sum(10 * (7 + t) for t in range(5)) + sum(10 * (2 + t) for t in range(4))
    )
    assert roofline.utilisation([group(7, 3, 5), group(2, 4)], seconds=2.0) == pytest.approx((5 * 1000 + keys) / 2e4)
    assert roofline.utilisation([], seconds=1.0) == 0


def test_a_model_reads_its_weights_and_its_own_keys(tiny_model) -> None:
    model = tiny_model(tie_word_embeddings=True)
    roofline = Roofline.of(model)
    assert roofline.weight_bytes == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert roofline.kv_bytes == 2 * 2 * 2 * 16 * 4, "keys and values of 2 layers, 2 heads of 16, 4 bytes each"


def test_a_table_of_embeddings_beside_the_head_is_not_read_whole(tiny_model) -> None:
    model = tiny_model(tie_word_embeddings=False)
    table = model.get_input_embeddings().weight.numel()
    assert Roofline.of(model).weight_bytes == 4 * (sum(p.numel() for p in model.parameters()) - table)


def test_bandwidth_is_that_of_a_computer() -> None:
    assert 5e8 < memory_bandwidth() < 1e14
