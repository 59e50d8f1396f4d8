"""What a model's generation_config.json asks of sampling."""

from __future__ import annotations

from typing import Any

_NEUTRAL = {
    "temperature": (1.0, None),
    "top_p": (1.0, None),
    "top_k": (0, 50, None),
    "min_p": (None,),
    "repetition_penalty": (1.0, None),
    "no_repeat_ngram_size": (0, None),
    "suppress_tokens": (None,),
    "bad_words_ids": (None,),
}
"""Fields that change the law, and the values at which they do not (50 is transformers' own default for top_k)."""


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer, by the generation config and the tokenizer. Raises ValueError without one."""
    declared = model.generation_config.eos_token_id
    listed = declared if isinstance(declared, list) else [declared]
    found = [token for token in dict.fromkeys([*listed, tokenizer.eos_token_id]) if token is not None]
    if not found:
        raise ValueError(
            "neither generation_config.json nor the tokenizer names an end-of-sequence token, so no answer would end: "
            "set eos_token_id in the model's generation_config.json"
        )
    return found


def ignored_wishes(model: Any) -> dict[str, Any]:
    """Fields of the generation config that would change the law of sampling.

    A run samples from the law its flags describe, because training needs that law's log-probabilities; these wishes are
    reported, not followed.
    """
    wishes = model.generation_config.to_dict()
    return {name: wishes[name] for name, neutral in _NEUTRAL.items() if wishes.get(name) not in neutral}
