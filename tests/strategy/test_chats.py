"""Which tokens of a conversation are the assistant's, in the chat templates there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core.types import Media, Message
from lightrft_strategy.data.chats import MediaWriter, TextWriter, learnt_tokens
from lightrft_strategy.data.rejected import RowError

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>"]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "<s>{% for m in messages %}[{{ m.role }}]\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n\n{% endif %}"
)
GEMMA = (
    "<s>{% for m in messages %}<s>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<s>model\n{% endif %}"
)
MISTRAL = (
    "<s>{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}</s>"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)
BARE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As reasoning models have it: what was thought in earlier turns is left out."""

TEMPLATES = {
    "chatml": (CHATML, "{}<|im_end|>"),
    "marked": (MARKED, "{}<|im_end|>"),
    "llama3": (LLAMA3, "{}<|eot_id|>"),
    "gemma": (GEMMA, "{}<end_of_turn>"),
    "mistral": (MISTRAL, " {}</s>"),
    "bare": (BARE, "{}\n"),
}
"""Template, and what of it is a turn of the assistant."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """One token a character, special ones aside."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, "?", *(c for c in letters if c != "?")])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", bos_token="<s>", unk_token="?", additional_special_tokens=SPECIAL[2:]
    )


def writer_of(tokenizer: Any, template: str) -> TextWriter:
    tokenizer.chat_template = template
    return TextWriter(tokenizer)


def learnt(writer: TextWriter, messages: Sequence[Message], turns: Sequence[int]) -> list[str]:
    """The texts of the stretches of learnt tokens; the tokens must be those of the whole conversation."""
    marked = learnt_tokens(writer, messages, (), turns)
    text, ids = writer.write(messages, (), answer_next=False)
    assert list(marked.token_ids) == list(ids)
    stretches: list[list[int]] = []
    for place, (token, mask) in enumerate(zip(marked.token_ids, marked.mask, strict=True)):
        if mask and not (place and marked.mask[place - 1]):
            stretches.append([])
        if mask:
            stretches[-1].append(token)
    assert "".join(text) == writer.decode(ids)
    return [writer.decode(stretch) for stretch in stretches]


WORDS = st.text("ab :.", min_size=1, max_size=6).map(lambda text: f"x{text}x")


@st.composite
def conversations(draw: Any) -> list[Message]:
    system = [Message("system", draw(WORDS))] if draw(st.booleans()) else []
    pairs = draw(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3))
    turns = [Message(role, text) for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)]
    return system + turns


@pytest.mark.parametrize("name", TEMPLATES)
@given(messages=conversations(), every=st.booleans())
def test_exactly_the_assistants_words_and_end_token_are_learnt(
    tokenizer: Any, name: str, messages: list[Message], every: bool
) -> None:
    template, turn = TEMPLATES[name]
    answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
    wanted = answers if every else answers[-1:]
    expected = [turn.format(messages[number].content) for number in wanted]
    assert learnt(writer_of(tokenizer, template), messages, wanted) == expected


def test_marks_decide_even_where_a_conversation_does_not_begin_as_its_parts_do(tokenizer: Any) -> None:
    marked = FORGETFUL.replace("\n{{ m.content if", "\n{% generation %}{{ m.content if").replace(
        "<|im_end|>\n{% endfor %}", "<|im_end|>{% endgeneration %}\n{% endfor %}"
    )
    chat = [Message("user", "a"), Message("assistant", "t</think>b"), Message("user", "c"), Message("assistant", "d")]
    assert learnt(writer_of(tokenizer, marked), chat, [3]) == ["d<|im_end|>"]


def test_a_template_that_rewrites_earlier_turns_is_found_out(tokenizer: Any) -> None:
    writer = writer_of(tokenizer, FORGETFUL)
    chat = [Message("user", "a"), Message("assistant", "t</think>b"), Message("user", "c"), Message("assistant", "d")]
    assert learnt(writer, chat, [3]) == ["d<|im_end|>"]
    with pytest.raises(RowError, match="its first 2 messages are not how the whole conversation begins, as text"):
        learnt_tokens(writer, chat, (), [1, 3])


def test_tokens_that_reach_over_the_beginning_of_an_answer_are_found_out() -> None:
    """ ": " and "b" are one token here, so what is sampled from would be another prompt than what is learnt from."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<end>", "?", ":", "a", "b", ":b"]
    made = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [(":", "b")], unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", unk_token="?")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ ':' if m.role == 'assistant' }}{{ m.content }}{% endfor %}<end>"
        "{% if add_generation_prompt %}:{% endif %}"
    ).replace("<end>{%", "{%")
    writer = TextWriter(tokenizer)
    learnt_tokens(writer, [Message("user", "a"), Message("assistant", "a")], (), [1])
    with pytest.raises(
        RowError, match="the beginning of an answer are not how the whole conversation begins, as tokens"
    ):
        learnt_tokens(writer, [Message("user", "a"), Message("assistant", "b")], (), [1])


def test_a_template_that_marks_nothing_of_a_turn_is_found_out(tokenizer: Any) -> None:
    writer = writer_of(tokenizer, MARKED)
    with pytest.raises(RowError, match="marks nothing of message 1 as generated"):
        learnt_tokens(writer, [Message("user", "a"), Message("assistant", "b")], (), [0])


def test_what_a_template_refuses_is_a_row_that_cannot_be_used(tokenizer: Any) -> None:
    writer = writer_of(tokenizer, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(RowError, match="refused by the chat template: roles must alternate"):
        learnt_tokens(writer, [Message("user", "a"), Message("assistant", "b")], (), [1])


def test_the_bundled_models_own_template_has_no_marks_and_is_masked_all_the_same() -> None:
    from transformers import AutoTokenizer

    from lightrft_strategy.smollm2 import smollm2

    writer = TextWriter(AutoTokenizer.from_pretrained(smollm2()))
    chat = [
        Message("user", "2+2?"),
        Message("assistant", "It is 4."),
        Message("user", "3+3?"),
        Message("assistant", "6"),
    ]
    assert writer.marked(chat) is None
    assert learnt(writer, chat, [1, 3]) == ["It is 4.<|im_end|>", "6<|im_end|>"]


class Encoder:
    """Stands for that of a model that sees: each medium is three placeholders."""

    modalities = ("image",)

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def read(self, part: Any, *, root: Any, urls: bool) -> Media:
        raise AssertionError(part)

    def encode(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool = True
    ) -> tuple[str, tuple[int, ...]]:
        shown = sum(part["type"] == "image" for m in messages if not isinstance(m.content, str) for part in m.content)
        if shown != len(media):
            raise ValueError(f"{shown} images are shown and {len(media)} are there")
        plain = [
            Message(m.role, m.content if isinstance(m.content, str) else "".join(p.get("text", "~") for p in m.content))
            for m in messages
        ]
        text, ids = TextWriter(self.tokenizer).write(plain, (), answer_next=answer_next)
        (image,) = self.tokenizer("~", add_special_tokens=False)["input_ids"]
        return text, tuple(token for one in ids for token in [one] * (3 if one == image else 1))


def test_media_are_counted_with_the_messages_they_stand_in(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    writer = MediaWriter(Encoder(tokenizer), tokenizer)
    pictures: Any = ("first", "second")
    shown = Message("user", ({"type": "image"}, {"type": "text", "text": "what?"}))
    chat = [shown, Message("assistant", "cat"), shown, Message("assistant", "dog")]
    assert sum(learnt_tokens(writer, chat, pictures, [1]).mask) == len("cat") + 1
    marked = learnt_tokens(writer, chat, pictures, [3])
    assert writer.decode([t for t, m in zip(marked.token_ids, marked.mask, strict=True) if m]) == "dog<|im_end|>"
    assert writer.decode(marked.token_ids).count("~") == 6
    assert marked.media == pictures
    with pytest.raises(RowError, match="cannot be written as the model reads it: 2 images are shown and 1 are there"):
        learnt_tokens(writer, chat, pictures[:1], [3])
