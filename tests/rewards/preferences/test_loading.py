"""What `--train_data` names: sources, their names and heads, chance over the sides, errors that name the flag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_rewards.preferences import (
    Comparison,
    Place,
    handler_names,
    load_comparisons,
    row_by_row,
    side_by_chance,
    spec,
)
from lightrft_strategy.data.parts import Turn
from lightrft_strategy.data.rejected import PromptDataError

from . import published


def foreign(content: Mapping[str, Any], place: Place) -> Comparison:
    return Comparison(place.uid, (Turn("user", ("?",)),), (("a",), ("b",)), {"score": (content["a"], content["b"])})


FOREIGN = row_by_row(foreign)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [published.pair(prompt=f"{n} + 1?", chosen=f"{n + 1}", rejected="none") for n in range(200)]
    return published.write_jsonl(rows, tmp_path / "pairs.jsonl")


def sides(file: Path, **asked: Any) -> list[int]:
    """Where the better answer stands in each comparison."""
    return [each.labels["score"].index(1.0) for each in load_comparisons(str(file), **asked).comparisons]


def test_chance_puts_the_better_answer_on_either_side_and_the_seed_decides(pairs: Path) -> None:
    assert sides(pairs, seed=None) == [0] * 200
    assert 70 < sum(sides(pairs, seed=1)) < 130
    assert sides(pairs, seed=1) == sides(pairs, seed=1)
    assert sides(pairs, seed=1) != sides(pairs, seed=2)
    assert sides(pairs, seed=1)[:50] == sides(pairs, seed=1, max_samples=50), "of its row alone"


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers())
def test_whatever_their_order_answers_keep_their_labels(numbers: list[int], seed: int) -> None:
    answers = tuple((f"answer {place} of {number}",) for place, number in enumerate(numbers))
    labels = {"score": tuple(map(float, numbers)), "doubled": tuple(2.0 * number for number in numbers)}
    given_in = Comparison("x:1", (), answers, labels, makers=tuple(map(str, numbers)))
    turned = side_by_chance(given_in, seed)
    assert sorted(turned.answers) == sorted(answers)
    for (text,), score, doubled, maker in zip(turned.answers, *turned.labels.values(), turned.makers, strict=True):
        assert isinstance(text, str)
        assert float(text.split()[-1]) == score == doubled / 2 == float(maker)


def test_several_sources_are_read_in_turn_and_called_by_what_tells_them_apart(tmp_path: Path, pairs: Path) -> None:
    one = published.write_json([published.hpdv3()], tmp_path / "a/x.json")
    two = published.write_json([published.hpdv3()], tmp_path / "b/x.json")
    rlhf = published.write_jsonl([published.safe_rlhf()], tmp_path / "safe.jsonl")
    loaded = load_comparisons(f"hpdv3:{one},{pairs}, pku_saferlhf:{rlhf},hpdv3:{two}", max_samples=2)
    names = [(each.source, each.uid) for each in loaded.comparisons]
    assert names == [
        (f"hpdv3:{one}", "a/x.json:1"),
        ("pairs.jsonl", "pairs.jsonl:1"),
        ("pairs.jsonl", "pairs.jsonl:2"),
        ("pku_saferlhf", "safe.jsonl:1"),
        (f"hpdv3:{two}", "b/x.json:1"),
    ]
    assert loaded.heads == ("score", "helpful", "safe")


def test_unwanted_heads_are_left_out_and_what_has_no_other_is_rejected(tmp_path: Path, pairs: Path) -> None:
    rlhf = published.write_jsonl([published.safe_rlhf()], tmp_path / "safe.jsonl")
    loaded = load_comparisons(f"pku_saferlhf:{rlhf}", heads=["safe"])
    assert loaded.heads == ("safe",)
    mixed = pairs.with_name("mixed.jsonl")
    published.write_jsonl([published.pair(), published.pair(labels={"tone": [1, 0]})], mixed)
    loaded = load_comparisons(str(mixed), heads=["tone"])
    assert [each.uid for each in loaded.comparisons] == ["mixed.jsonl:2"]
    (rejected,) = loaded.rejected
    assert (rejected.source, rejected.row) == (str(mixed), 1)
    assert "its heads are score" in rejected.reason


def test_bad_rows_are_named_by_file_and_row_and_the_rest_is_read(pairs: Path) -> None:
    lines = pairs.read_text().splitlines()
    lines[3], lines[6] = "not json", '{"prompt": "x"}'
    pairs.write_text("\n".join(lines))
    seen: list[int] = []
    loaded = load_comparisons(str(pairs), progress=seen.append)
    assert [(item.source, item.row) for item in loaded.rejected] == [(str(pairs), 4), (str(pairs), 7)]
    assert len(loaded.comparisons) == 198


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("hpdv4:x.json", r"no handler of preference data 'hpdv4': correct --eval_data.*hpdv3"),
        ("nowhere.jsonl", r"neither a file.*--eval_data"),
        ("a.jsonl,,b.jsonl", r'--eval_data ".*" names an empty source'),
        ("{pairs},{pairs}", r"is given twice: name it once$"),
        ("pku_saferlhf:{pairs}", r"not one of its 200 rows can be used.*\n.*row 1: has no \"response_0\""),
        ("{empty}", r"has no rows: name another source with --eval_data"),
    ],
)
def test_what_cannot_be_read_at_all_names_the_flag(pairs: Path, data: str, message: str) -> None:
    empty = pairs.with_name("empty.jsonl")
    empty.write_text("")
    with pytest.raises(PromptDataError, match=message):
        load_comparisons(data.format(pairs=pairs, empty=empty), flag="--eval_data")


def test_a_file_named_with_a_colon_is_a_file(tmp_path: Path) -> None:
    file = published.write_jsonl([published.pair()], tmp_path / "hpdv3:x.jsonl")
    assert load_comparisons(str(file)).comparisons[0].source == "hpdv3:x.jsonl"


def offering(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    points = EntryPoints(EntryPoint(name, value, spec.GROUP) for name, value in values.items())
    monkeypatch.setattr(spec, "entry_points", lambda *, group: points.select(group=group))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This module under a name that can be imported."""
    import sys
    from types import ModuleType

    there = ModuleType("a_foreign_package")
    there.FOREIGN, there.foreign = FOREIGN, foreign  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, there.__name__, there)
    yield there.__name__


def test_a_foreign_package_adds_a_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    offering(monkeypatch, theirs=f"{module}:FOREIGN", none=f"{module}:foreign", hpdv3=f"{module}:FOREIGN")
    file = published.write_jsonl([{"a": 1.0, "b": 2.0}, {"a": float(2**70), "b": 0.0}], tmp_path / "x.jsonl")
    loaded = load_comparisons(f"theirs:{file}", seed=None)
    assert loaded.comparisons[0].labels == {"score": (1.0, 2.0)}
    assert loaded.comparisons[0].source == "theirs"
    assert "theirs" in handler_names()
    for name, message in {"none": "is no Handler", "hpdv3": "a built-in one has that name"}.items():
        with pytest.raises(PromptDataError, match=message):
            load_comparisons(f"{name}:{file}")
