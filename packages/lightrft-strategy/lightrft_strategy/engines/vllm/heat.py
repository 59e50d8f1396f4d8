"""What vLLM's own sampling parameters cannot say: temperatures above 2, and tokens that are never drawn."""

from __future__ import annotations

from math import inf
from typing import Any

from torch import Tensor
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor


class Heat(AdapterLogitsProcessor):  # type: ignore[misc]
    """Reads a request's extra_args, before vLLM's own temperature, top-k and top-p.

    heat: divides its logits, for first tokens drawn boldly (FIRE, arXiv 2410.21236). never: tokens whose probability is
    to be 0.
    """

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        wanted = params.extra_args or {}
        heat, never = wanted.get("heat", 1.0), wanted.get("never", [])
        if heat == 1 and not never:
            return None

        def process(output_ids: list[int], logits: Tensor) -> Tensor:
            logits = logits / heat
            logits[never] = -inf
            return logits

        return process
