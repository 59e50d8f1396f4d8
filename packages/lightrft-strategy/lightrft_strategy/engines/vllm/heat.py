"""What vLLM's own sampling parameters cannot say: temperatures above 2, and tokens that are never drawn."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor


class Heat(AdapterLogitsProcessor):  # type: ignore[misc]
    """Reads a request's extra_args, before vLLM's own temperature, top-k and top-p.

    heat: divides its logits, for first tokens drawn boldly (FIRE, arXiv 2410.21236). never: tokens whose probability is
    to be 0. Both are done in place, so that vLLM copies nothing.
    """

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        wanted = params.extra_args or {}
        heat, never = wanted.get("heat", 1.0), wanted.get("never", [])
        if heat == 1 and not never:
            return None

        places = torch.tensor(never, dtype=torch.long)

        def process(output_ids: list[int], logits: Tensor) -> Tensor:
            nonlocal places
            places = places.to(logits.device)
            if heat != 1:
                logits.div_(heat)
            return logits.index_fill_(0, places, -inf)

        return process
