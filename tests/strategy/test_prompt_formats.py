"""Rows of well-known data sets, as they are published."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
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
from lightrft_strategy.data import FORMATS, PromptDataError, PromptSpec, PromptStream, load_prompts
from lightrft_strategy.data.rejected import RowError

CHOICES = ["motorboat", "Yacht consignment", "Sailboat set sail", "Consignment car"]
SAILBOAT = {
    "id": 183,
    "video_name": "-HG3Omg_89c_000030",
    "question_text": "What happened in the video?",
    "multi_choice": CHOICES,
    "answer": 1,
    "dataset_name": "AVQA",
    "audio_path": "wavs/one.wav",
}
RHYTHM = {
    "id": 415600,
    "prompt": "Question: Which genre is it? \n Options: (A) Pop (B) Reggae (C) Rock (D) Ska \n The correct answer is: ",
    "answers": ["Pop", "Reggae", "Rock", "Ska"],
    "answer_orders": [3, 0, 2, 1],
    "audio_path": "00/415600.mp3",
}
FIGURE = {"images": [{"bytes": b"png", "path": None}], "problem": "<image>Find x.", "answer": "2 \\sqrt { 221 }"}
SUM = {"question": "3 and 4?", "answer": "3 + 4 = <<3+4=7>>7\n#### 1,007"}


@dataclass(frozen=True)
class Seen:
    modality: str
    sha256: str


class StandIn:
    """Reads everything, and writes messages as they are."""

    modalities = ("image", "audio")
    placeholders = (-1,)

    def read(self, part: Part, *, root: Path | None, urls: bool) -> Media:
        return Seen(part["type"], str(part[part["type"]]))

    def encode(self, messages: Sequence[Message], media: Sequence[Media]) -> tuple[str, tuple[int, ...]]:
        parts = [part for message in messages for part in message.content]
        text = "".join(p if isinstance(p, str) else p.get("text") or f"[{p['type']} {p['sha256']}]" for p in parts)
        return text, (0,)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")


def written(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    path = folder / name
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            lines = csv.DictWriter(file, rows[0])
            lines.writeheader()
            lines.writerows(rows)
    else:
        path.write_text(json.dumps(rows))
    return str(path)


@pytest.mark.parametrize(
    ("name", "row", "text", "label", "route"),
    [
        ("gsm8k", SUM, "3 and 4?", "1,007", "gsm8k"),
        ("geo3k", FIGURE, "[image {'bytes': b'png', 'path': None}]Find x.", "2 \\sqrt { 221 }", "geo3k"),
        (
            "avqa",
            SAILBOAT,
            "[audio wavs/one.wav]What happened in the audio?\nA. motorboat\nB. Yacht consignment\n"
            "C. Sailboat set sail\nD. Consignment car",
            {"choices": CHOICES, "answer": 1},
            "multiple_choice",
        ),
        (
            "muchomusic",
            RHYTHM,
            "[audio 00/415600.mp3]Which genre is it?\nA. Pop\nB. Reggae\nC. Rock\nD. Ska",
            {"choices": RHYTHM["answers"], "answer": 1},
            "multiple_choice",
        ),
        (
            "muchomusic",
            {"audio": {"bytes": b"wav", "path": "a.wav"}, "question": "Which?", "options": ["x", "y"], "answer": "Y"},
            "[audio {'bytes': b'wav', 'path': 'a.wav'}]Which?\nA. x\nB. y",
            {"choices": ["x", "y"], "answer": 1},
            "multiple_choice",
        ),
    ],
)
def test_a_published_row_becomes_a_prompt(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    row: Mapping[str, Any],
    text: str,
    label: object,
    route: str,
) -> None:
    holds_bytes = "images" in row or isinstance(row.get("audio"), dict)
    file = written(tmp_path, "test.parquet" if holds_bytes else "test.json", [row])
    spec = PromptSpec(f"{name}:{file}", apply_chat_template=True)
    ((prompt,),) = load_prompts(spec, tokenizer, StandIn()).sources
    assert (prompt.text, prompt.label, prompt.route) == (text, label, route)
    assert prompt.uid == f"{Path(file).name}:1"


@pytest.mark.parametrize("answer", [1, "yacht Consignment ", "B", "b"])
def test_an_answer_is_a_number_a_text_or_a_letter(answer: object) -> None:
    assert FORMATS["avqa"]({**SAILBOAT, "answer": answer})["label"]["answer"] == 1


@given(st.text(min_size=1).filter(str.strip), st.permutations(["right", "w1", "w2", "w3"]))
def test_the_csv_of_muchomusic_is_shuffled_by_its_question_alone(question: str, answers: list[str]) -> None:
    names = ("correct_answer", "distractor_1_answer", "distractor_2_answer", "distractor_3_answer")
    row = {"audio_path": "a.wav", "question": question, **dict(zip(names, answers, strict=True))}
    shaped = FORMATS["muchomusic"](row)
    label = shaped["label"]
    assert sorted(label["choices"]) == sorted(answers)
    assert label["choices"][label["answer"]] == answers[0]
    assert FORMATS["muchomusic"](row) == shaped


def test_the_right_answer_of_a_shuffled_csv_stands_anywhere() -> None:
    names = ("correct_answer", "distractor_1_answer", "distractor_2_answer", "distractor_3_answer")
    answers = dict(zip(names, "abcd", strict=True))
    rows = ({"audio_path": "a", "question": f"q{number}", **answers} for number in range(200))
    places = [FORMATS["muchomusic"](row)["label"]["answer"] for row in rows]
    assert all(30 <= places.count(place) <= 70 for place in range(4))


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("gsm8k", {"question": "x", "answer": "7"}, 'its "answer" does not end in #### and a number'),
        ("gsm8k", {"question": " ", "answer": "#### 7"}, 'its "question" is blank'),
        ("gsm8k", {"question": 3, "answer": "#### 7"}, 'its "question" is of type int, not text'),
        ("geo3k", {"problem": "x", "answer": "1"}, 'has no "images" or "image" (it has "problem", "answer")'),
        ("geo3k", {**FIGURE, "answer": None}, 'has no "answer" (it has "images", "problem", "answer")'),
        (
            "avqa",
            {**SAILBOAT, "answer": 4},
            'its "answer" 4 is none of its 4 choices: not a number from 0, text, letter',
        ),
        (
            "avqa",
            {**SAILBOAT, "answer": True},
            'its "answer" True is none of its 4 choices: not a number from 0, text, letter',
        ),
        ("avqa", {**SAILBOAT, "multi_choice": ["a"]}, 'its "multi_choice" has 1 choices, not 2 to 26'),
        ("avqa", {**SAILBOAT, "multi_choice": "abc"}, 'its "multi_choice" is of type str, not a list of choices'),
        (
            "avqa",
            {**SAILBOAT, "multi_choice": ["a", " "]},
            'its "multi_choice" has a choice that is not text, or blank',
        ),
        (
            "muchomusic",
            {**RHYTHM, "answer_orders": [3, 1, 2, 1]},
            'its "answer_orders" does not number its 4 answers from 0',
        ),
        (
            "muchomusic",
            {**RHYTHM, "prompt": "What?"},
            'its "prompt" is not of the form "Question: ... Options: ..."',
        ),
    ],
)
def test_a_row_of_another_form_says_what_is_wrong(name: str, row: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS[name](row)
    assert str(caught.value) == reason


def test_a_bad_row_is_kept_as_it_was_published(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    bad, long = {"question": "x"}, {**SUM, "question": "x " * 9}
    file = written(tmp_path, "rows.json", [SUM, bad, long])
    loaded = load_prompts(PromptSpec(f"gsm8k:{file}", prompt_max_len=5), tokenizer)
    assert [(item.row, item.content) for item in loaded.rejected] == [(2, bad), (3, long)]


def test_text_image_and_sound_are_mixed_by_shares(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    sources = ",".join(
        [
            "gsm8k:" + written(tmp_path, "sums.json", [{**SUM, "question": f"q{i}"} for i in range(20)]),
            "geo3k:" + written(tmp_path, "figures.parquet", [FIGURE] * 20),
            "avqa:" + written(tmp_path, "sounds.json", [SAILBOAT] * 20),
        ]
    )
    spec = PromptSpec(sources, prompt_data_probs="1,2,1", apply_chat_template=True)
    loaded = load_prompts(spec, tokenizer, StandIn())
    assert not loaded.rejected
    stream = PromptStream(loaded.sources, spec.probs, 8, 20, seed=1)
    drawn: list[Prompt] = [prompt for step in range(stream.num_steps) for prompt in stream.batch(step + 1)]
    routes = [prompt.route for prompt in drawn]
    shares = [routes.count(route) / len(routes) for route in ("gsm8k", "geo3k", "multiple_choice")]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.04)
    assert {prompt.route: tuple(medium.modality for medium in prompt.media) for prompt in drawn} == {
        "gsm8k": (),
        "geo3k": ("image",),
        "multiple_choice": ("audio",),
    }


def test_what_is_no_format_is_an_error_that_names_those_there_are(tokenizer: PreTrainedTokenizerFast) -> None:
    known = "aime, avqa, geo3k, gpqa, gsm8k, livecodebench, math500, mmmu, muchomusic"
    with pytest.raises(PromptDataError, match=rf"before a colon: {known}"):
        load_prompts(PromptSpec("geometry:rows.json"), tokenizer)
