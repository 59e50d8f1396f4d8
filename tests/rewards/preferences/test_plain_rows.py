"""Plain preference rows: pairs, ranked lists and grades, as text, chats or media."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightrft_rewards.preferences import Comparison, PreferenceKeys, load_comparisons
from lightrft_strategy.data.parts import Medium, Turn
from lightrft_strategy.data.rejected import PromptDataError

from . import published

USER = {"role": "user", "content": "2 + 2?"}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def one(tmp_path: Path, row: dict[str, Any], **keys: str) -> Comparison:
    file = published.write_jsonl([row], tmp_path / "x.jsonl")
    loaded = load_comparisons(str(file), seed=None, keys=PreferenceKeys(**keys))
    assert loaded.rejected == []
    (comparison,) = loaded.comparisons
    return comparison


def why(tmp_path: Path, row: dict[str, Any]) -> str:
    """Why a row is rejected."""
    file = published.write_jsonl([published.pair(), row], tmp_path / "x.jsonl")
    (rejected,) = load_comparisons(str(file)).rejected
    assert (rejected.row, rejected.source) == (2, str(file))
    assert json.loads(json.dumps(rejected.content)) == row
    return rejected.reason


@pytest.mark.parametrize(
    "write", [published.write_jsonl, published.write_json, published.write_csv, published.write_parquet]
)
def test_a_pair_is_read_from_any_kind_of_file(tmp_path: Path, write: Any) -> None:
    suffix = {"write_jsonl": ".jsonl", "write_json": ".json", "write_csv": ".csv", "write_parquet": ".parquet"}
    file = write([published.pair()], tmp_path / f"pairs{suffix[write.__name__]}")
    (comparison,) = load_comparisons(str(file), seed=None).comparisons
    assert comparison.asked == (Turn("user", ("2 + 2?",)),)
    assert (comparison.answers, comparison.labels) == ((("4",), ("5",)), {"score": (1.0, 0.0)})
    assert (comparison.source, comparison.uid) == (file.name, f"{file.name}:1")


def test_a_saved_dataset_is_read_by_its_split(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    parts = {"train": [published.pair()], "test": [published.pair(chosen="four"), published.pair(prompt="3?")]}
    DatasetDict({name: Dataset.from_list(rows) for name, rows in parts.items()}).save_to_disk(tmp_path / "saved")
    held_out = load_comparisons(str(tmp_path / "saved"), split="test", seed=None, flag="--eval_data")
    assert [each.answers[0] for each in held_out.comparisons] == [("four",), ("4",)]
    with pytest.raises(PromptDataError, match="--eval_split"):
        load_comparisons(str(tmp_path / "saved"), split="dev", flag="--eval_data")


@pytest.mark.parametrize(
    "row",
    [
        published.pair(chosen=[USER, said("4")], rejected=[USER, said("5")]),
        {"chosen": [USER, said("4")], "rejected": [USER, said("5")]},
        published.pair(prompt=[USER], chosen=[said("4")], rejected=[said("5")]),
        published.pair(prompt=[USER], chosen="4", rejected=[{"type": "text", "text": "5"}]),
        {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"},
    ],
)
def test_chats_and_texts_of_the_same_say_the_same(tmp_path: Path, row: dict[str, Any]) -> None:
    comparison, expected = one(tmp_path, row), one(tmp_path, published.pair())
    assert (comparison.asked, comparison.answers) == (expected.asked, expected.answers)


def test_only_the_last_answer_of_a_conversation_is_compared(tmp_path: Path) -> None:
    text = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: 2 + 2?\n\nAssistant:"
    comparison = one(tmp_path, {"chosen": f"{text} 4\n\nas ever", "rejected": text})
    assert [(turn.role, turn.text) for turn in comparison.asked] == [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("user", "2 + 2?"),
    ]
    assert comparison.answers == (("4\n\nas ever",), ("",))


def test_a_row_without_a_prompt_asks_nothing(tmp_path: Path) -> None:
    assert one(tmp_path, {"chosen": "a poem", "rejected": "a dirge"}).asked == ()


@pytest.mark.parametrize(
    ("more", "labels"),
    [
        ({"margin": 2.5}, {"score": (2.5, 0.0)}),
        ({"margin": 0}, {"score": (0.0, 0.0)}),
        ({"score_chosen": 8, "score_rejected": 6.5}, {"score": (8.0, 6.5)}),
        ({"score_chosen": 7, "score_rejected": 7}, {"score": (7.0, 7.0)}),
        ({"labels": {"kind": [1, 2], "none": None}}, {"score": (1.0, 0.0), "kind": (1.0, 2.0)}),
    ],
)
def test_margins_and_scores_of_a_pair_are_its_labels(tmp_path: Path, more: dict[str, Any], labels: Any) -> None:
    assert one(tmp_path, published.pair(**more)).labels == labels


@pytest.mark.parametrize(
    ("judged", "labels"),
    [
        ({"scores": [1, 3, 2]}, {"score": (1.0, 3.0, 2.0)}),
        ({"ranks": [3, 1, 1]}, {"score": (-3.0, -1.0, -1.0)}),
        ({"labels": {"a": [0, 1, 0]}}, {"a": (0.0, 1.0, 0.0)}),
    ],
)
def test_several_answers_are_ranked_by_scores_or_ranks(tmp_path: Path, judged: dict[str, Any], labels: Any) -> None:
    comparison = one(tmp_path, {"prompt": "2 + 2?", "answers": ["3", "4", [USER, said("5")][1:]], **judged})
    assert comparison.answers == (("3",), ("4",), ("5",))
    assert comparison.labels == labels


def test_a_written_judgement_keeps_the_order_that_it_speaks_of(tmp_path: Path) -> None:
    row = {"prompt": "x", "answers": ["a", "b"], "scores": [0, 1], "reasoning": "<answer>Answer 2 is better</answer>\n"}
    file = published.write_jsonl([row] * 20, tmp_path / "x.jsonl")
    loaded = load_comparisons(str(file), seed=1).comparisons
    assert {(each.answers, each.reasoning) for each in loaded} == {
        ((("a",), ("b",)), "<answer>Answer 2 is better</answer>")
    }


def test_one_answer_has_a_grade(tmp_path: Path) -> None:
    assert one(tmp_path, {"prompt": "x", "response": "y", "score": "3.5"}).labels == {"score": (3.5,)}
    assert one(tmp_path, {"prompt": "x", "response": "y", "labels": {"tone": 2}}).labels == {"tone": (2.0,)}


def test_keys_may_be_called_otherwise(tmp_path: Path) -> None:
    row = {"q": "2 + 2?", "good": "4", "bad": "5", "by": 3}
    comparison = one(tmp_path, row, prompt="q", chosen="good", rejected="bad", margin="by")
    assert (comparison.asked[0].text, comparison.labels) == ("2 + 2?", {"score": (3.0, 0.0)})


def test_questions_and_answers_may_show_something(tmp_path: Path) -> None:
    image = {"type": "image", "image": "made.png"}
    row = published.pair(
        prompt="Like <image>?",
        images=["given.png"],
        chosen=image,
        rejected=[image | {"image": "b.png"}, {"type": "text", "text": "!"}],
    )
    comparison = one(tmp_path, row)
    before, given, after = comparison.asked[0].pieces
    assert (before, after) == ("Like ", "?")
    assert isinstance(given, Medium)
    assert given.part == {"type": "image", "image": "given.png"}
    first, second = comparison.answers
    assert isinstance(first[0], Medium)
    assert first[0].part == image
    assert second[1] == "!"
    assert comparison.root == tmp_path


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "x"}, 'has neither "chosen" and "rejected"'),
        ({"prompt": "x", "chosen": "a"}, 'has no "rejected"'),
        (published.pair(rejected="4"), "the same answer twice"),
        (published.pair(chosen="", rejected=""), "no answer that is not empty"),
        (published.pair(margin=-1), '"margin" is -1'),
        (published.pair(reasoning="<answer>Answer 1 is better</answer>"), "of which the first is always better"),
        (published.pair(margin="much"), "not a number"),
        (published.pair(margin=True), "not a number"),
        (published.pair(score_chosen=1, score_rejected=2), "lower score"),
        (published.pair(chosen=[USER]), "does not end with an answer of the assistant"),
        (published.pair(chosen=[USER, said("4")], rejected=[{**USER, "content": "?"}, said("5")]), "differ before"),
        (published.pair(chosen=7), "not text, media or a conversation"),
        (published.pair(labels=[1, 2]), "not an object"),
        (published.pair(labels={"a": [1]}), "not a list of 2 numbers"),
        (published.pair(prompt=[USER, said("4")]), "ends with a message of the assistant"),
        (published.pair(prompt={"a": 1}), "neither a string nor a list"),
        (published.pair(prompt="<image>?", images=["a.png", "b.png"]), "leaves places for images"),
        ({"prompt": "x", "answers": ["a"], "scores": [1]}, "several are ranked"),
        ({"prompt": "x", "answers": ["a", "b"], "scores": [1]}, "one for each answer"),
        ({"prompt": "x", "answers": ["a", "b"]}, "nothing that was thought of it"),
        ({"prompt": "x", "response": "a"}, "nothing that was thought of it"),
        ({"prompt": "x", "response": "a", "score": "good"}, "not a number"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    assert reason in why(tmp_path, row)
