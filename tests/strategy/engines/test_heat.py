"""Our logits processor in vLLM works on vLLM's own tensor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

vllm = pytest.importorskip("vllm.v1.sample.logits_processor")


@pytest.mark.parametrize(
    ("asked", "heat", "never"),
    [({"never": [1, 3]}, 1.0, [1, 3]), ({"heat": 2.5}, 2.5, []), ({"heat": 4.0, "never": [0]}, 4.0, [0])],
    ids=str,
)
def test_logits_are_heated_and_masked_in_place(asked: dict[str, Any], heat: float, never: list[int]) -> None:
    from lightrft_strategy.engines.vllm.heat import Heat

    process = object.__new__(Heat).new_req_logits_processor(SimpleNamespace(extra_args=asked))
    for seed in range(2):
        logits = torch.randn(5, generator=torch.Generator().manual_seed(seed))
        expected = torch.tensor([-torch.inf if i in never else x / heat for i, x in enumerate(logits.tolist())])
        assert process([], logits) is logits
        torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("asked", [None, {}, {"heat": 1.0}, {"never": []}], ids=str)
def test_a_request_that_wants_neither_has_no_processor(asked: Any) -> None:
    from lightrft_strategy.engines.vllm.heat import Heat

    assert object.__new__(Heat).new_req_logits_processor(SimpleNamespace(extra_args=asked)) is None
