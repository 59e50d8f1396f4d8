"""A token to pad with that no passage can end with: Transformers' classifiers find the last token by it."""

from __future__ import annotations

from typing import Any

NEW = "<|reward_pad|>"


def set_padding_token(tokenizer: Any, embeddings: int) -> None:
    """Let a tokenizer pad with a token that is not written: its own, if that is not the end token; another special one
    that its chat template does not use; or a new one, where the model has embeddings to spare.

    embeddings: how many the model has. Raises ValueError if there is no such token.
    """
    template = str(tokenizer.chat_template or "")
    written = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id}
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in written:
        return
    for number, token in sorted(tokenizer.added_tokens_decoder.items()):
        if token.special and number not in written and token.content not in template:
            tokenizer.pad_token = token.content
            return
    if len(tokenizer) >= embeddings:
        raise ValueError(
            "the tokenizer has no token to pad with but the one that ends answers, and the model has no embedding to "
            "spare: give the tokenizer a pad_token, and the model an embedding for it"
        )
    tokenizer.add_special_tokens({"pad_token": NEW})
