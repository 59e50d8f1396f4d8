"""Prompts that a model or an engine cannot answer."""

from __future__ import annotations

from collections.abc import Mapping

from lightrft_core import Prompt

_ONE_CLOCK = "its server reads frames as JPEG, and all videos at one rate, which are not those that the trainer reads"
_OWN_FRAMES = "it takes no frames, and samples others from a file than the trainer reads"
UNREADABLE: Mapping[tuple[str, bool], Mapping[str, str]] = {
    ("vllm", True): {"video": _ONE_CLOCK},
    ("sglang", True): {"video": _OWN_FRAMES},
    ("sglang", False): {"video": _OWN_FRAMES},
}
"""(engine, whether as a server) -> modality -> why the engine cannot be given what the trainer reads."""


MISREAD: Mapping[tuple[str, str], frozenset[str]] = {("vllm", "qwen3_vl"): frozenset({"video"})}
"""(engine, model_type) -> modalities with which its answers were seen not to be those of Transformers."""


def unreadable(engine_type: str, *, served: bool, media: Mapping[str, int], model_type: str = "") -> str:
    """Why an engine cannot read prompts with so many media of each modality, and what to do; "" if it can."""
    for modality in sorted(MISREAD.get((engine_type, model_type), ())):
        if media.get(modality):
            return (
                f"--engine_type {engine_type} answers prompts with {modality}s otherwise than Transformers does with "
                f"models of type {model_type}: sample with --engine_type embedded"
            )
    for modality, why in UNREADABLE.get((engine_type, served), {}).items():
        if media.get(modality):
            server = (
                " as a server (--engine_server, --engine_url, --vllm_num_engines, --engine_tp_size)" if served else ""
            )
            return (
                f"--engine_type {engine_type}{server} cannot be given the {modality}s of the prompts: {why}; sample "
                "with --engine_type embedded, or vllm in the trainer's own process"
            )
    return ""


def refusal(prompt: Prompt, budget: int, vocabulary: int, positions: int | None) -> str:
    """Why this prompt cannot be answered in `budget` tokens, and what to do; "" if it can.

    vocabulary: the model's tokens are those below. positions: the longest sequence it can read; None: any.
    """
    strange = [token for token in prompt.token_ids if not 0 <= token < vocabulary]
    if not prompt.token_ids:
        return f"prompt {prompt.uid} has no tokens: give the row a text, or leave it out"
    if strange:
        return (
            f"prompt {prompt.uid} has token {strange[0]}, but the model's tokens go from 0 to {vocabulary - 1}: "
            "encode it with the model's own tokenizer"
        )
    if positions is not None and len(prompt.token_ids) + budget > positions:
        return (
            f"prompt {prompt.uid} has {len(prompt.token_ids)} tokens and its answer may have {budget}, but the model "
            f"reads at most {positions}: shorten the prompt, or lower --generate_max_len"
        )
    return ""
