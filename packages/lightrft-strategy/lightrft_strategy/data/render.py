"""From messages to the text and the token ids the policy reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightrft_core.types import Message
from lightrft_strategy.data.rejected import PromptDataError, RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises PromptDataError if the tokenizer brings no chat template."""
    if not tokenizer.chat_template:
        raise PromptDataError(
            "--apply_chat_template needs a tokenizer with a chat template, and this one has none: "
            "leave the flag out, or use the instruction-tuned model's tokenizer"
        )


def plain_text(messages: Sequence[Message]) -> str:
    """The user's text under the system prompt, a blank line between.

    Raises RowError for a longer conversation: its turns could no longer be told apart.
    """
    if [message.role for message in messages if message.role != "system"] != ["user"]:
        raise RowError(f"is a conversation of {len(messages)} messages, which only --apply_chat_template can write out")
    return _checked("\n\n".join(str(message.content) for message in messages))


def templated_text(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    """The conversation in the tokenizer's chat template, up to where the assistant begins.

    Raises RowError if the template refuses the conversation.
    """
    from jinja2 import TemplateError

    turns = [{"role": message.role, "content": str(message.content)} for message in messages]
    try:
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        raise RowError(f"is refused by the chat template: {error}") from error
    return _checked(str(text))


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special_tokens: bool) -> list[list[int]]:
    """Token ids of each text. special_tokens: add those the tokenizer adds by default (a template wrote its own)."""
    if not texts:
        return []
    encoded = tokenizer(
        list(texts), add_special_tokens=special_tokens, return_attention_mask=False, truncation=False, verbose=False
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def _checked(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError("its prompt is not valid Unicode: it holds half of a surrogate pair") from error
    return text
