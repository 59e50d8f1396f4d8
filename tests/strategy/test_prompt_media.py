"""Prompts that show and play something: where their media stand, and what becomes of rows whose media are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lightrft_core.types import Media, Message, Part, Prompt
from lightrft_strategy.data import LoadedPrompts, PromptSpec, load_prompts, overlap
from lightrft_strategy.data.conversation import read_prompt
from lightrft_strategy.data.parts import MODALITIES, Medium
from lightrft_strategy.data.rows import Keys

ALL = frozenset(MODALITIES)


@dataclass(frozen=True)
class Seen:
    """A medium that is known by its name."""

    modality: str
    sha256: str


class StandIn:
    """Reads any name but those that begin with "bad", notes where it looked, and writes messages a token a letter."""

    placeholders = (-1,)

    def __init__(self, modalities: Sequence[str] = MODALITIES) -> None:
        self.modalities = modalities
        self.looked: list[tuple[Path | None, bool]] = []

    def read(self, part: Part, *, root: Path | None, urls: bool) -> Media:
        self.looked.append((root, urls))
        (name,) = (str(value) for key, value in part.items() if key != "type")
        if name.startswith("bad"):
            raise ValueError(f"{name} cannot be decoded")
        return Seen(part["type"].removesuffix("_url").removeprefix("input_"), name)

    def encode(self, messages: Sequence[Message], media: Sequence[Media]) -> tuple[str, tuple[int, ...]]:
        named = iter(media)
        text = "".join(f"<{message.role}>{written(message, named)}" for message in messages)
        assert next(named, None) is None
        if "refused" in text:
            raise ValueError("the template refuses it")
        return text, tuple(range(len(text) + 10 * len(media)))


def written(message: Message, named: Any = None) -> str:
    """A content with each medium as [image name]; with `named`, the media must come in the order of their parts."""
    if isinstance(message.content, str):
        return message.content
    for part in message.content:
        if part["type"] != "text" and named is not None:
            medium = next(named)
            assert (medium.modality, medium.sha256) == (part["type"], part["sha256"])
    return "".join(p["text"] if p["type"] == "text" else f"[{p['type']} {p['sha256']}]" for p in message.content)


Load = Callable[..., LoadedPrompts]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    letters = Tokenizer(models.WordLevel({"?": 0, "#": 1}, unk_token="?"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=letters, unk_token="?", chat_template="{{ messages[0].content }}")


@pytest.fixture
def load(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Load:
    """load(*rows, encoder=..., **flags): the rows of one file, after a good one, so that not all are refused."""

    def load(*rows: object, encoder: StandIn | None = None, **flags: Any) -> LoadedPrompts:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in ({"input": "good"}, *rows)))
        spec = PromptSpec(str(path), **{"apply_chat_template": True} | flags)
        return load_prompts(spec, tokenizer, encoder or StandIn())

    return load


def only(loaded: LoadedPrompts) -> Prompt:
    assert [str(item) for item in loaded.rejected] == []
    _, prompt = loaded.sources[0]
    return prompt


def refusal(loaded: LoadedPrompts) -> str:
    (item,) = loaded.rejected
    assert item.row == 2
    assert [prompt.uid for prompt in loaded.sources[0]] == ["data.jsonl:1"]
    return item.reason


def user(*parts: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": list(parts)}]


IMAGE = {"type": "image"}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"input": "What is it?", "images": "a"}, "[image a]What is it?"),
        ({"input": "What are they?", "images": ["a", "b"]}, "[image a][image b]What are they?"),
        ({"input": "first <image> then <image>.", "images": ["a", "b"]}, "first [image a] then [image b]."),
        ({"input": "<audio>?", "images": ["a"], "audios": "s", "videos": ["v"]}, "[image a][video v][audio s]?"),
        ({"input": "", "audios": ["s"]}, "[audio s]"),
        ({"input": "none", "images": None, "videos": [], "audios": ""}, "none"),
        ({"input": user(IMAGE, {"type": "text", "text": "it"}), "images": ["a"]}, "[image a]it"),
        ({"input": user({"type": "text", "text": "<image>"}, IMAGE), "images": ["a", "b"]}, "[image a][image b]"),
        ({"input": user({"type": "image", "image": "a"}, {"type": "text", "text": "it"})}, "[image a]it"),
        ({"input": user({"type": "image", "image": "a"}, IMAGE), "images": "b"}, "[image a][image b]"),
        ({"input": user({"type": "image_url", "image_url": {"url": "a"}})}, "[image {'url': 'a'}]"),
        ({"input": user({"type": "video", "url": "v", "video": None})}, "[video v]"),
        ({"input": user({"type": "audio", "audio_url": "s"})}, "[audio s]"),
        ({"input": user({"type": "input_audio", "input_audio": "s", "text": "aside"})}, "[audio s]"),
        ({"input": user({"type": "image", "base64": "a"})}, "[image a]"),
    ],
)
def test_media_stand_where_the_row_says(load: Load, row: dict[str, object], text: str) -> None:
    prompt = only(load(row))
    assert prompt.text == f"<user>{text}"
    assert [f"[{medium.modality} {medium.sha256}]" in text for medium in prompt.media] == [True] * len(prompt.media)
    assert text.count("[") == len(prompt.media)


def test_media_without_a_place_go_in_front_of_the_last_message_of_the_user(load: Load) -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "x"}]
    prompt = only(load({"input": chat, "images": "a", "audios": "s"}, system_prompt="<image> Be kind."))
    assert prompt.text == "<system><image> Be kind.<user>hi<assistant>ho<user>[image a][audio s]x"
    assert [type(message.content) for message in prompt.messages] == [str, str, str, tuple]


def test_places_are_filled_in_reading_order_over_all_messages_but_not_in_the_assistants_words(load: Load) -> None:
    chat = [
        {"role": "user", "content": "<image>1"},
        {"role": "assistant", "content": "an <image>"},
        {"role": "user", "content": [IMAGE, {"type": "text", "text": "2<image>"}]},
    ]
    assert only(load({"input": chat, "images": ["a", "b", "c"]})).text == (
        "<user>[image a]1<assistant>an <image><user>[image b]2[image c]"
    )


def test_the_input_template_goes_round_media_and_may_place_them(load: Load) -> None:
    row = {"input": user({"type": "image", "image": "a"}, {"type": "text", "text": "x{y}"})}
    assert only(load(row, input_template="{{Q}} {} A:")).text == "<user>{Q} [image a]x{y} A:"
    placing = load({"input": "x", "images": "a"}, input_template="{}\n<image>")
    assert [prompt.text for prompt in placing.sources[0]] == ["<user>x\n[image a]"]


def test_messages_name_media_by_hash_and_hold_no_bytes(load: Load) -> None:
    prompt = only(load({"input": user({"type": "input_audio", "input_audio": "s"})}))
    assert prompt.messages == (Message("user", ({"type": "audio", "sha256": "s"},)),)
    assert prompt.media == (Seen("audio", "s"),)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"input": "<image><image>", "images": "a"},
            'leaves places for images in its messages, 2 of them, and its key "images" holds 1: correct the row, or '
            "--images_key",
        ),
        (
            {"input": "<video>"},
            'leaves places for videos in its messages, 1 of them, and its key "videos" holds 0: correct the row, or '
            "--videos_key",
        ),
        (
            {"input": user(IMAGE)},
            'leaves places for images in its messages, 1 of them, and its key "images" holds 0: correct the row, or '
            "--images_key",
        ),
        (
            {"input": user({"type": "image", "image": "a"}), "images": "b"},
            'holds images in its messages and under its key "images", and no places for these: write <image> where '
            "they go",
        ),
        ({"input": "x", "images": ["a", "bad one"]}, 'image 2 under its key "images": bad one cannot be decoded'),
        ({"input": "x", "audios": "bad"}, 'the audio under its key "audios": bad cannot be decoded'),
        (
            {"input": user({"type": "text", "text": "?"}, {"type": "video", "video": "bad"})},
            "the video in message 1: bad cannot be decoded",
        ),
        ({"input": "x", "images": [None]}, 'image 1 under its key "images" is null'),
        (
            {"input": "x", "videos": 3},
            'its key "videos" is of type int, neither videos nor one: set --videos_key to the key of its videos, or to '
            "one that no row has",
        ),
        (
            {"input": [{"role": "system", "content": "x"}], "images": "a"},
            "has media under a key, and no message of the user that they could go in front of",
        ),
        (
            {"input": user({"type": "image", "image": "a", "url": "b"})},
            'message 1 holds a part of type "image" with both "image" and "url": keep one',
        ),
        (
            {"input": user({"type": "smell"})},
            'message 1 holds a part of type "smell": there are text, image, video, audio, image_url, video_url, '
            "audio_url, input_audio",
        ),
        ({"input": "  ", "images": []}, "has an empty prompt"),
        ({"input": "refused", "images": "a"}, "cannot be written as the model reads it: the template refuses it"),
    ],
)
def test_a_row_whose_media_are_wrong_is_refused_by_name(load: Load, row: dict[str, object], reason: str) -> None:
    assert refusal(load(row)) == reason


def test_as_many_media_as_the_limit_are_read_and_one_more_is_refused(load: Load) -> None:
    row = {"input": "x", "images": ["a", "b"], "audios": ["s"]}
    assert len(only(load(row, limit_mm_image_per_prompt=2, limit_mm_audio_per_prompt=1)).media) == 3
    assert refusal(load(row, limit_mm_image_per_prompt=1)) == "has 2 images, more than --limit_mm_image_per_prompt 1"
    assert refusal(load(row, limit_mm_audio_per_prompt=0)) == "has 1 audios, more than --limit_mm_audio_per_prompt 0"


def test_a_model_that_cannot_hear_says_so(load: Load) -> None:
    assert refusal(load({"input": "x", "audios": "s"}, encoder=StandIn(["image", "video"]))) == (
        'shows or plays the audio under its key "audios", and the model of --pretrain reads no audios (images, videos)'
    )


def test_a_model_of_text_refuses_media_and_reads_placeholders_as_the_text_they_are(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = tmp_path / "data.jsonl"
    rows = [{"input": "the <image> tag"}, {"input": "x", "images": ["a.png"]}, {"input": user(IMAGE)}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_prompts(PromptSpec(str(path), apply_chat_template=True), tokenizer)
    assert [prompt.text for prompt in loaded.sources[0]] == ["the <image> tag"]
    assert "--pretrain is a model of text alone: set it to one that reads images" in loaded.rejected[0].reason
    assert "leaves places for images" in loaded.rejected[1].reason


def test_only_the_chat_template_can_write_media(load: Load) -> None:
    reason = refusal(load({"input": "x", "images": "a"}, apply_chat_template=False))
    assert reason == "has media (image), which only --apply_chat_template can write out"


def test_a_plain_text_may_not_hold_what_stands_for_media(load: Load, tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = StandIn()
    encoder.placeholders = (tokenizer.convert_tokens_to_ids("#"),)
    reason = refusal(load({"input": "a#b"}, encoder=encoder, apply_chat_template=False))
    assert reason == "its text holds a token of the model's that stands for media alone: write it in another way"


def test_the_tokens_of_media_count(load: Load) -> None:
    row = {"input": "x", "images": ["a"]}
    length = len("<user>[image a]x") + 10
    assert len(only(load(row, prompt_max_len=length)).token_ids) == length
    assert refusal(load(row, prompt_max_len=length - 1)) == (
        f"has a prompt of {length} tokens, those of its media among them, more than --prompt_max_len {length - 1}"
    )


def test_paths_are_relative_to_the_file_or_the_root_and_urls_are_fetched_if_asked(tmp_path: Path, load: Load) -> None:
    encoder = StandIn()
    load({"input": "x", "images": "a"}, encoder=encoder)
    load({"input": "x", "images": "a"}, encoder=encoder, media_root="/", media_urls=True)
    assert encoder.looked == [(tmp_path, False), (Path("/"), True)]


def test_keys_say_where_media_are(load: Load) -> None:
    row = {"input": "x", "picture": "a", "clips": ["v"], "sound": "s", "images": "not this one"}
    flags = {"images_key": "picture", "videos_key": "clips", "audios_key": "sound"}
    assert only(load(row, **flags)).text == "<user>[image a][video v][audio s]x"


def test_parquet_keeps_bytes_and_parts_with_the_keys_of_others(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    parts = [{"type": "image", "image": {"bytes": b"a", "path": None}, "text": None}]
    rows = [{"input": [{"role": "user", "content": [*parts, {"type": "text", "text": "x", "image": None}]}]}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    spec = PromptSpec(str(tmp_path / "data.parquet"), apply_chat_template=True)
    ((prompt,),) = load_prompts(spec, tokenizer, StandIn()).sources
    assert prompt.media[0].sha256 == "{'bytes': b'a', 'path': None}"
    assert isinstance(prompt.messages[0].content, tuple)


def test_prompts_that_show_different_media_do_not_overlap(load: Load) -> None:
    one, other = (only(load({"input": "What is it?", "images": name})) for name in "ab")
    assert overlap([one], [other]) == []
    assert overlap([one], [one]) == [(one.uid, one.uid)]


@given(
    st.lists(st.sampled_from(["text ", "<image>", "<audio>", "{", "<video"]), max_size=12),
    st.lists(st.integers(0, 99), max_size=6),
    st.lists(st.integers(0, 99), max_size=6),
)
def test_every_listed_medium_stands_once_and_in_order_or_the_row_is_refused(
    pieces: list[str], images: list[int], audios: list[int]
) -> None:
    row = {"input": "".join(pieces), "images": [f"i{n}" for n in images], "audios": [f"a{n}" for n in audios]}
    fits = all(
        pieces.count(marker) in (0, len(listed)) for marker, listed in (("<image>", images), ("<audio>", audios))
    )
    written_out = bool("".join(pieces).strip() or images or audios)
    try:
        turns = read_prompt(row, Keys(), None, None, ALL)
    except ValueError:
        assert not (fits and written_out)
        return
    assert fits and written_out
    media = [piece for turn in turns for piece in turn.pieces if isinstance(piece, Medium)]
    assert [medium.part and medium.part[medium.modality] for medium in media if medium.modality == "image"] == row[
        "images"
    ]
    assert [medium.part and medium.part[medium.modality] for medium in media if medium.modality == "audio"] == row[
        "audios"
    ]
    left = "".join(piece for turn in turns for piece in turn.pieces if isinstance(piece, str))
    assert left == "".join(piece for piece in pieces if piece not in ("<image>", "<audio>"))
