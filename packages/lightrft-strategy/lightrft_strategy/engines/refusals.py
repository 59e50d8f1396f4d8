"""Prompts that a model cannot answer."""

from __future__ import annotations

from lightrft_core import Prompt


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
