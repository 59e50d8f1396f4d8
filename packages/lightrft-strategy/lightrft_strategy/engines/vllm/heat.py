"""Temperatures above the 2 that vLLM itself allows, for first tokens drawn boldly (FIRE, arXiv 2410.21236)."""

from __future__ import annotations

from typing import Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor


class Heat(AdapterLogitsProcessor):  # type: ignore[misc]
    """Divides a request's logits by extra_args["heat"], besides vLLM's own temperature and before top-k and top-p."""

    def is_argmax_invariant(self) -> bool:
        return True

    def new_req_logits_processor(self, params: Any) -> Any:
        heat = (params.extra_args or {}).get("heat")
        return None if heat is None else lambda output_ids, logits: logits / heat
