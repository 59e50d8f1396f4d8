"""Supervised data: a row becomes examples or is rejected by name, and each token is learnt as often as it should."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_core import Example
from lightrft_core.types import Media, Message
from lightrft_strategy.data import ExampleSpec, ExampleStream, LoadedExamples, PromptDataError, load_examples

CHATML = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
LETTERS = "abcdefghijklmnopqrstuvwxyzAB0123456789 .:=+?~\n"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """One token a letter."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({t: i for i, t in enumerate(["<end>", "<s>", "_", *LETTERS])}, unk_token="_"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", bos_token="<s>", unk_token="_")
    tokenizer.chat_template = CHATML
    return tokenizer


Load = Callable[..., LoadedExamples]


@pytest.fixture
def load(tmp_path: Path, tokenizer: Any) -> Load:
    """load(rows, encoder=None, **flags) -> what is read of a file of these rows."""

    def read(rows: Sequence[Any], encoder: Any = None, **flags: Any) -> LoadedExamples:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load_examples(ExampleSpec(str(path), **flags), tokenizer, encoder)

    return read


def texts(tokenizer: Any, example: Example) -> tuple[str, str]:
    """(what is read, what is learnt)."""
    pairs = list(zip(example.token_ids, example.loss_mask, strict=True))
    return tokenizer.decode(list(example.token_ids)), tokenizer.decode([token for token, mask in pairs if mask])


class Eyes:
    """What plain text needs of a model that sees: which tokens stand for media alone."""

    modalities = ("image",)

    def __init__(self, placeholder: int) -> None:
        self.placeholders = (placeholder,)


@pytest.mark.parametrize("flags", [{}, {"pretrain_mode": True}, {"pretrain_mode": True, "max_len": 4}], ids=str)
def test_a_plain_text_may_not_hold_what_stands_for_media(load: Load, tokenizer: Any, flags: dict[str, Any]) -> None:
    rows = [{"input": "2+2=", "output": "4"}, {"input": "abcdeAb=", "output": "4"}]
    loaded = load(rows, Eyes(tokenizer.convert_tokens_to_ids("A")), **flags)
    (rejected,) = loaded.rejected
    assert rejected.row == 2 and "holds a token of the model's that stands for media alone" in rejected.reason
    assert {example.uid.partition(":")[2].partition("/")[0] for example in loaded.sources[0]} == {"1"}
    assert load(rows, **flags).rejected == []


def test_an_answer_may_not_hold_what_stands_for_media_either(load: Load, tokenizer: Any) -> None:
    rows = [{"input": "2+2=", "output": "4"}, {"input": "2+2=", "output": "A"}]
    assert [item.row for item in load(rows, Eyes(tokenizer.convert_tokens_to_ids("A"))).rejected] == [2]


TURNS = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yes?"},
    {"role": "user", "content": [{"type": "text", "text": "2+"}, {"type": "text", "text": "2"}]},
    {"role": "assistant", "content": "4"},
]


@pytest.mark.parametrize(
    ("row", "flags", "read", "learnt"),
    [
        ({"input": "2+2=", "output": "4"}, {}, "2+2=4<end>", "4<end>"),
        ({"q": "2+2=", "a": "4"}, {"input_key": "q", "output_key": "a"}, "2+2=4<end>", "4<end>"),
        ({"input": "2", "output": "4"}, {"input_template": "{}+2="}, "2+2=4<end>", "4<end>"),
        ({"input": "2=", "output": "2"}, {"system_prompt": "add"}, "add\n\n2=2<end>", "2<end>"),
        (
            {"input": "2+2", "output": "4"},
            {"apply_chat_template": True, "system_prompt": "add"},
            "<s>system\nadd<end>\n<s>user\n2+2<end>\n<s>assistant\n4<end>\n",
            "4<end>",
        ),
        (
            {"chat": TURNS},
            {"input_key": "chat", "apply_chat_template": True},
            "<s>user\nhi<end>\n<s>assistant\nyes?<end>\n<s>user\n2+2<end>\n<s>assistant\n4<end>\n",
            "4<end>",
        ),
        (
            {"chat": TURNS},
            {"input_key": "chat", "apply_chat_template": True, "multiturn": True},
            "<s>user\nhi<end>\n<s>assistant\nyes?<end>\n<s>user\n2+2<end>\n<s>assistant\n4<end>\n",
            "yes?<end>4<end>",
        ),
        (
            {"chat": TURNS[:3], "output": "5"},
            {"input_key": "chat", "apply_chat_template": True},
            "<s>user\nhi<end>\n<s>assistant\nyes?<end>\n<s>user\n2+2<end>\n<s>assistant\n5<end>\n",
            "5<end>",
        ),
        ({"input": "abc"}, {"pretrain_mode": True}, "abc<end>", "bc<end>"),
    ],
)
def test_what_is_read_and_what_of_it_is_learnt(
    load: Load, tokenizer: Any, row: Any, flags: dict[str, Any], read: str, learnt: str
) -> None:
    ((example,),) = load([row], **flags).sources
    assert texts(tokenizer, example) == (read, learnt)
    assert example.uid == "rows.jsonl:1"


@pytest.mark.parametrize(
    ("row", "flags", "reason"),
    [
        ({"input": "a"}, {}, 'its text under "output" is missing (it has "input"): look at --output_key'),
        ({"input": "a", "output": 3}, {}, "is of type int"),
        ({"input": "a", "output": ""}, {}, "is empty"),
        ({"output": "a"}, {}, 'has no key "input"'),
        ({"input": "", "output": "a"}, {}, "has an empty prompt"),
        ({"input": TURNS[:3]}, {"apply_chat_template": True}, "does not end with an answer of the assistant"),
        ({"input": TURNS}, {}, "is a conversation of 3 messages, which only --apply_chat_template can write out"),
        ({"input": TURNS[:1], "output": "b" * 30}, {"apply_chat_template": True, "max_len": 40}, "more than --max_len"),
        (
            {"input": "a", "output": "b", "images": ["x.png"]},
            {"apply_chat_template": True},
            "--pretrain is a model of text",
        ),
        ({"input": "\ud800", "output": "b"}, {}, "is not valid Unicode"),
        ({"input": ""}, {"pretrain_mode": True}, "is empty"),
        ([1], {}, "is a JSON list, not an object"),
    ],
)
def test_a_row_that_cannot_be_used_is_kept_with_its_reason(
    load: Load, row: Any, flags: dict[str, Any], reason: str
) -> None:
    fine = {"input": [{"role": "user", "content": "a"}], "output": "b"} if "apply_chat_template" in flags else None
    loaded = load([row, fine or {"input": "2+2=", "output": "4"}], **flags)
    (rejected,) = loaded.rejected
    assert reason in rejected.reason, rejected.reason
    assert (rejected.row, rejected.content) == (1, row)
    assert [example.uid for example in loaded.sources[0]] == ["rows.jsonl:2"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("a<end>~ ", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["input", "output", "role", "content", "type", "text", "images"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=100)
@given(row=st.dictionaries(st.sampled_from(["input", "output", "images", "x"]), ANYTHING), chat=st.booleans())
def test_no_row_is_lost_and_none_breaks_the_reading(
    tokenizer: Any, tmp_path_factory: pytest.TempPathFactory, row: Any, chat: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(json.dumps({"input": "a", "output": "b"}) + "\n" + json.dumps(row) + "\n")
    loaded = load_examples(ExampleSpec(str(path), apply_chat_template=chat), tokenizer)
    assert len(loaded.sources[0]) + len(loaded.rejected) == 2
    for example in loaded.sources[0]:
        example.sequence(0)


@given(length=st.integers(1, 40), max_len=st.integers(2, 12))
def test_a_long_text_is_cut_so_that_every_token_but_the_first_is_learnt_once(
    tokenizer: Any, tmp_path_factory: pytest.TempPathFactory, length: int, max_len: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "text.jsonl"
    text = "".join(LETTERS[number % 40] for number in range(length))
    path.write_text(json.dumps({"input": text}) + "\n")
    (examples,) = load_examples(ExampleSpec(str(path), pretrain_mode=True, max_len=max_len), tokenizer).sources
    learnt: list[int] = []
    for example in examples:
        assert len(example.token_ids) <= max_len
        assert [bool(mask) for mask in example.loss_mask] == [False] + [True] * (len(example.token_ids) - 1)
        assert not learnt or example.token_ids[0] == learnt[-1]
        learnt += example.token_ids[1:]
    assert tokenizer.decode(learnt) == text[1:] + "<end>"
    assert len({example.uid for example in examples}) == len(examples)


class Encoder:
    """Stands for that of a model that sees: each image is three placeholders."""

    modalities = ("image",)

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def read(self, part: Any, *, root: Any, urls: bool) -> Media:
        picture: Any = Picture(part["image"])
        return picture

    def encode(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool = True
    ) -> tuple[str, tuple[int, ...]]:
        def text(message: Message) -> str:
            parts = message.content if not isinstance(message.content, str) else [{"text": message.content}]
            return "".join(part.get("text", "~~~") for part in parts)

        turns = [{"role": message.role, "content": text(message)} for message in messages]
        written = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer_next)
        assert written.count("~") == 3 * len(media)
        return written, tuple(self.tokenizer(written, add_special_tokens=False)["input_ids"])


class Picture:
    modality = "image"

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256


@given(
    shown=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    every=st.booleans(),
)
def test_media_come_before_the_tokens_learnt_and_no_answer_is_lost(
    tokenizer: Any, tmp_path_factory: pytest.TempPathFactory, shown: list[int], every: bool
) -> None:
    """A conversation of so many images in each question, the first of which has one at least."""
    shown[0] += 1
    turns: list[dict[str, Any]] = []
    for number, images in enumerate(shown):
        parts = [{"type": "image", "image": f"{number}.{image}"} for image in range(images)]
        turns.append({"role": "user", "content": [*parts, {"type": "text", "text": f"q{number}"}]})
        turns.append({"role": "assistant", "content": f"a{number}"})
    path = tmp_path_factory.getbasetemp() / "seen.jsonl"
    path.write_text(json.dumps({"input": turns}) + "\n")
    spec = ExampleSpec(str(path), apply_chat_template=True, multiturn=every)
    (examples,) = load_examples(spec, tokenizer, Encoder(tokenizer)).sources
    assert "".join(texts(tokenizer, example)[1] for example in examples) == "".join(
        f"a{number}<end>" for number in (range(len(shown)) if every else [len(shown) - 1])
    )
    names = [f"{number}.{image}" for number, images in enumerate(shown) for image in range(images)]
    for example in examples:
        sequence = example.sequence(0)
        assert tokenizer.decode(list(sequence.response_ids)).count("~") == 0
        assert [medium.sha256 for medium in sequence.media] == names[: len(sequence.media)]
        assert tokenizer.decode(list(sequence.prompt_ids)).count("~") == 3 * len(sequence.media)
    assert len(examples) == (1 + sum(images > 0 for images in shown[1:]) if every else 1)


def test_each_epoch_reads_every_example_once_in_an_order_of_its_own() -> None:
    examples = [Example(str(number), [1, 2], [0, 1]) for number in range(10)]
    stream = ExampleStream([examples[:4], examples[4:]], None, 3, 2, 7)
    read = [example.uid for step in range(1, stream.num_steps + 1) for example in stream.batch(step)]
    assert stream.num_steps == 7
    assert Counter(read[:10]) == Counter(read[10:]) == Counter(map(str, range(10)))
    assert read[:10] != read[10:]
    assert [example.uid for example in stream.batch(4)] == read[9:12]


def test_sources_are_mixed_by_their_shares() -> None:
    sources = [[Example(f"{name}{i}", [1, 2], [0, 1]) for i in range(50)] for name in "ab"]
    stream = ExampleStream(sources, [3.0, 1.0], 100, 4, 7)
    read = Counter(example.uid[0] for step in range(1, 5) for example in stream.batch(step))
    assert 260 < read["a"] < 340


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"dataset": "a.jsonl,,b"}, '--dataset "a.jsonl,,b" names an empty source'),
        ({"dataset": "a,b", "dataset_probs": "1"}, "--dataset_probs has 1 numbers, --dataset 2 sources"),
        ({"max_len": 1}, "--max_len 1: an example has 2 tokens or more"),
        ({"max_samples": 0}, "--max_samples must be at least 1 row"),
        ({"multiturn": True}, "--multiturn: turns can be told apart in a chat template: add --apply_chat_template"),
        ({"pretrain_mode": True, "apply_chat_template": True}, "--pretrain_mode reads plain text"),
        ({"input_template": "a"}, "--input_template 'a' must hold exactly one {}"),
        (
            {"input_template": "a{}", "multiturn": True, "apply_chat_template": True},
            "--input_template is written around one input, and --multiturn learns several",
        ),
    ],
)
def test_flags_that_cannot_be_are_named(flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PromptDataError) as refused:
        ExampleSpec(**{"dataset": "a.jsonl"} | flags)
    assert complaint in str(refused.value)


def test_what_is_wrong_with_a_source_is_said_by_the_flags_of_this_command(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"input": 1}\n')
    for flags, complaint in (({"dataset_split": "test"}, "set --dataset_split"), ({}, "(--dataset, --input_key")):
        with pytest.raises(PromptDataError) as refused:
            load_examples(ExampleSpec(str(tmp_path / "data"), **flags), tokenizer)
        assert complaint in str(refused.value)
        assert "prompt_" not in str(refused.value)
