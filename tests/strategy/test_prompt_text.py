"""What the policy reads of a row: templates, system prompts, special tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from lightrft_core.types import Message, Prompt
from lightrft_strategy.data import PromptDataError, PromptSpec, load_prompts, overlap

Read = Callable[..., Prompt]

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if loop.index0 and message.role == messages[loop.index0 - 1].role %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def build_tokenizer(chat_template: str | None) -> PreTrainedTokenizerFast:
    """One token a character, after a beginning-of-sequence token."""
    letters = Tokenizer(models.WordLevel({"<s>": 0, "?": 1, "x": 2, "y": 3}, unk_token="?"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, bos_token="<s>", unk_token="?", chat_template=chat_template
    )


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(input, **flags): the one prompt of a file with this input."""

    def read(value: object, *, tokenizer: PreTrainedTokenizerFast | None = None, **flags: Any) -> Prompt:
        path = tmp_path / "data.jsonl"
        path.write_text(json.dumps({"input": value, "label": 1}))
        ((prompt,),) = load_prompts(PromptSpec(str(path), **flags), tokenizer or build_tokenizer(CHAT_TEMPLATE)).sources
        return prompt

    return read


def turn(role: str, content: object) -> dict[str, object]:
    return {"role": role, "content": content}


def test_plain_text_gets_the_tokenizers_own_special_tokens(read: Read) -> None:
    prompt = read("xy")
    assert (prompt.text, prompt.token_ids) == ("xy", (0, 2, 3))
    assert prompt.messages == (Message("user", "xy"),)


def test_plain_text_has_the_system_prompt_above_it(read: Read) -> None:
    prompt = read("x", system_prompt="Be kind.")
    assert prompt.text == "Be kind.\n\nx"
    assert prompt.messages == (Message("system", "Be kind."), Message("user", "x"))


def test_the_chat_template_opens_the_answer_and_its_bos_is_not_doubled(read: Read) -> None:
    prompt = read("xy", apply_chat_template=True, system_prompt="y")
    assert prompt.text == "<s><system>y<user>xy<assistant>"
    assert prompt.token_ids.count(0) == 1
    assert prompt.token_ids[0] == 0


def test_a_conversation_is_written_turn_by_turn(read: Read) -> None:
    chat = [turn("system", "own"), turn("user", "x"), turn("assistant", "y"), turn("user", "x")]
    prompt = read(chat, apply_chat_template=True, system_prompt="not this one")
    assert prompt.text == "<s><system>own<user>x<assistant>y<user>x<assistant>"


def test_text_parts_are_joined(read: Read) -> None:
    chat = [turn("user", [{"type": "text", "text": "x", "image": None}, {"type": "text", "text": "y"}])]
    assert read(chat).text == "xy"
    assert read(chat, apply_chat_template=True).text == "<s><user>xy<assistant>"


def test_a_longer_conversation_needs_the_chat_template(read: Read) -> None:
    chat = [turn("user", "x"), turn("assistant", "y"), turn("user", "x")]
    with pytest.raises(PromptDataError, match="a conversation of 3 messages, which only --apply_chat_template"):
        read(chat)


def test_a_conversation_the_template_refuses_is_a_bad_row(read: Read) -> None:
    with pytest.raises(PromptDataError, match="row 1: is refused by the chat template: roles must alternate"):
        read([turn("user", "x"), turn("user", "y")], apply_chat_template=True)


def test_a_tokenizer_without_chat_template_is_an_error(read: Read) -> None:
    with pytest.raises(PromptDataError, match="--apply_chat_template needs a tokenizer with a chat template"):
        read("x", tokenizer=build_tokenizer(None), apply_chat_template=True)


def test_the_input_template_goes_round_the_last_message(read: Read) -> None:
    template = 'Question: {}\nAnswer as {{"answer": 1}}:'
    assert read("x{y}", input_template=template).text == 'Question: x{y}\nAnswer as {"answer": 1}:'
    chat = [turn("user", "x"), turn("assistant", "y"), turn("user", "x")]
    assert read(chat, input_template="({})", apply_chat_template=True).text == (
        "<s><user>x<assistant>y<user>(x)<assistant>"
    )


@pytest.mark.parametrize("template", ["no place", "{} and {}", "{0}", "{name}", "{!r}", "{:>5}", '{} {"a": 1}', "{} }"])
def test_an_input_template_has_exactly_one_place(template: str) -> None:
    with pytest.raises(PromptDataError, match=r"--input_template .* write {{ and }} for"):
        PromptSpec("data.jsonl", input_template=template)


def test_tokens_are_counted_as_the_policy_reads_them(read: Read) -> None:
    assert len(read("xyxy", prompt_max_len=5).token_ids) == 5
    with pytest.raises(PromptDataError, match="has a prompt of 5 tokens, more than --prompt_max_len 4"):
        read("xyxy", prompt_max_len=4)


def test_prompts_are_tokenised_together_and_progress_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"input": "x" * (1 + i % 3)}) + "\n" for i in range(1500)))
    seen: list[int] = []
    loaded = load_prompts(PromptSpec(str(path)), build_tokenizer(None), progress=seen.append)
    assert seen == [1024, 1500]
    assert [len(prompt.token_ids) for prompt in loaded.sources[0]] == [2 + i % 3 for i in range(1500)]


def test_overlap_ignores_white_space_and_system_messages_but_not_case(read: Read) -> None:
    train = [read("What is  x?\n"), read("What is y?")]
    same, other = read(" What is x?", system_prompt="Be brief.", apply_chat_template=True), read("what is y?")
    assert overlap(train, [other, same]) == [(train[0].uid, same.uid)]
    assert overlap(train, [other]) == []
