"""Sampling laws in SGLang's words, and its answers in ours.

SGLang 0.5.23 records a token's log-probability under bias, minimum length and temperature, of a greedy token at
temperature 1. It leaves top-k and top-p out, unless asked for the sampling mask, which takes a finite top-k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

from lightrft_core import SamplingParams
from lightrft_strategy.engines.backend import Completion, Request
from lightrft_strategy.engines.media_urls import URLS

CANNOT: Mapping[str, str] = {
    "top_p": "its log-probabilities leave top_p out, and those under the truncated law need a top_k beside it; "
    "set --top_p 1, or sample with --engine_type vllm or embedded"
}
ALL = -1
NEVER = -1e9
"""Added to the logit of a token that is never drawn: its probability is 0 at any temperature below ten million."""
NOT_NUMBERS = "NaN happened"
"""What SGLang says matched when it ends an answer because its logits are not numbers."""


def masked(law: SamplingParams) -> bool:
    """Whether the law's log-probabilities come with the sampling mask: it truncates, and is not greedy."""
    return law.top_k > 0 and not law.greedy


def generate_body(request: Request, eos_token_ids: Sequence[int]) -> dict[str, Any]:
    """Fields of SGLang's GenerateReqInput, which are also the body of /generate.

    End tokens are given as stop tokens. SGLang's ignore_eos would switch those off too, so it stays unset, and SGLang
    also ends answers at end tokens of its own; `completion` refuses those that are not ours.
    """
    law = request.law
    sampling: dict[str, Any] = {
        "temperature": law.temperature,
        "top_p": law.top_p,
        "top_k": law.top_k if masked(law) else ALL,
        "max_new_tokens": law.max_new_tokens,
        "min_new_tokens": law.min_new_tokens,
        "stop_token_ids": [*eos_token_ids, *law.stop_token_ids],
        "sampling_seed": request.seed,
        "skip_special_tokens": False,
        "no_stop_trim": True,
    }
    if law.stop:
        sampling["stop"] = list(law.stop)
    biases = {**law.logit_bias, **dict.fromkeys(law.never, NEVER)}
    if biases:
        sampling["logit_bias"] = {str(token): bias for token, bias in biases.items()}
    body = {"input_ids": list(request.token_ids), "sampling_params": sampling, "return_logprob": True}
    body |= {f"{modality}_data": [URLS[modality](one) for one in media] for modality, media in request.media.items()}
    return body | {"return_sampling_mask": True} if masked(law) else body


def score_body(token_ids: Sequence[int]) -> dict[str, Any]:
    """Fields of a GenerateReqInput that asks for the log-probabilities of a prompt; one token is drawn and dropped."""
    sampling = {"temperature": 0.0, "max_new_tokens": 1}
    return {
        "input_ids": list(token_ids),
        "sampling_params": sampling,
        "return_logprob": True,
        "logprob_start_len": 0,
    }


def completion(answer: Mapping[str, Any], request: Request, eos_token_ids: Sequence[int]) -> Completion:
    """One answer from what /generate returns."""
    law, meta, tokens = request.law, answer["meta_info"], list(answer["output_ids"])
    end = meta["finish_reason"]
    recorded = meta["output_token_logprobs"]
    logprobs = meta["output_token_sampling_logprobs"] if masked(law) else [logprob for logprob, *_ in recorded]
    error = ""
    if end["type"] == "abort":
        error = str(end.get("message", "SGLang gave this answer up"))
    elif end.get("matched") == NOT_NUMBERS:
        error = "SGLang's logits are not numbers"
    elif isinstance(end.get("matched"), int) and end["matched"] not in {*eos_token_ids, *law.stop_token_ids}:
        error = f"SGLang ended the answer at token {end['matched']}, an end token of its own but not of this run"
    elif [token for _, token, *_ in recorded] != tokens or len(logprobs) != len(tokens) or None in logprobs:
        error = "SGLang's log-probabilities do not belong to the tokens it returned"
    if error:
        return Completion([], [], stopped=False, error=error)
    return Completion(tokens, list(logprobs), end["type"] == "stop", prompt_tokens=meta.get("prompt_tokens"))


def scores(answer: Mapping[str, Any]) -> list[float]:
    """Log-probability of each prompt token but the first, from what /generate returns to a score_body.

    JSON knows no NaN, so SGLang's server says null.
    """
    return [nan if logprob is None else logprob for logprob, *_ in answer["meta_info"]["input_token_logprobs"][1:]]
