"""Sampling laws in vLLM's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightrft_strategy.engines.backend import Completion, Request
from lightrft_strategy.engines.media_urls import URLS

HOTTEST = 2.0
"""The highest temperature vLLM takes; what is beyond goes through our own logits processor, `Heat`."""


def sampling_arguments(request: Request, eos_token_ids: tuple[int, ...]) -> dict[str, Any]:
    """Keyword arguments of vllm.SamplingParams, which are also the fields of its servers' sampling_params.

    The model's own end tokens are given as stop tokens, so that the engine ends answers by our list alone.
    """
    law = request.law
    arguments: dict[str, Any] = {
        "temperature": min(law.temperature, HOTTEST),
        "top_p": law.top_p,
        "top_k": law.top_k,
        "max_tokens": law.max_new_tokens,
        "min_tokens": law.min_new_tokens,
        "stop_token_ids": [*eos_token_ids, *law.stop_token_ids],
        "ignore_eos": True,
        "logprobs": 0,
        "seed": request.seed,
        "detokenize": bool(law.stop),
        "skip_special_tokens": False,
        "include_stop_str_in_output": True,
    }
    extra: dict[str, Any] = {"heat": law.temperature / HOTTEST} if law.temperature > HOTTEST else {}
    if law.never:
        extra["never"] = list(law.never)
    if extra:
        arguments["extra_args"] = extra
    if law.stop:
        arguments["stop"] = list(law.stop)
    if law.logit_bias:
        arguments["logit_bias"] = dict(law.logit_bias)
    return arguments


def prompt_of(request: Request) -> dict[str, Any]:
    """A request's prompt as vLLM's own process takes it; it expands media, whose hashes it knows them by."""
    prompt: dict[str, Any] = {"prompt_token_ids": list(request.token_ids)}
    if request.media:
        prompt["multi_modal_data"] = {modality: list(media) for modality, media in request.media.items()}
        prompt["multi_modal_uuids"] = {modality: list(hashes) for modality, hashes in request.hashes.items()}
    return prompt


def body_of(request: Request, eos_token_ids: tuple[int, ...]) -> dict[str, Any]:
    """A request as the body of a server's /inference/v1/generate, which then also says what prompt it read."""
    body: dict[str, Any] = {
        "token_ids": request.token_ids,
        "sampling_params": sampling_arguments(request, eos_token_ids),
    }
    if request.media:
        body["return_token_ids"] = True
        body["content_parts"] = [
            {"type": f"{modality}_url", "url": URLS[modality](one), "uuid": known}
            for modality, media in request.media.items()
            for one, known in zip(media, request.hashes[modality], strict=True)
        ]
    return body


def completion(output: Any, prompt_ids: Sequence[int] | None = None) -> Completion:
    """One answer from a vllm.CompletionOutput with the log-probability of each sampled token.

    prompt_ids: the prompt as vLLM read it.
    """
    tokens = list(output.token_ids)
    logprobs = [here[token].logprob for token, here in zip(tokens, output.logprobs, strict=True)]
    return Completion(tokens, logprobs, stopped=output.finish_reason == "stop", prompt_ids=prompt_ids)
