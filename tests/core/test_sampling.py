"""Sampling parameters, and randomness that depends on nothing but its key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import Prompt, SamplingParams, uniforms

keys = st.tuples(
    st.integers(0, 2**32), st.integers(0, 10**6), st.text(max_size=12), st.integers(0, 9), st.integers(0, 99)
)
Key = tuple[int, int, str, int, int]


def numbers(key: Key, count: int = 8) -> list[float]:
    seed, step, uid, occurrence, sample = key
    return uniforms(seed, step, Prompt(uid, (), "", (), occurrence=occurrence), sample, count).tolist()


@given(keys)
def test_the_same_key_gives_the_same_numbers_whatever_else_the_prompt_holds(key: Key) -> None:
    seed, step, uid, occurrence, sample = key
    rendered = Prompt(uid, (), "other text", (1, 2, 3), label=4, route="math", occurrence=occurrence)
    assert uniforms(seed, step, rendered, sample, 8).tolist() == numbers(key)


@given(keys, keys)
def test_keys_that_differ_in_any_part_give_other_numbers(one: Key, other: Key) -> None:
    if one != other:
        assert numbers(one) != numbers(other)


@given(keys, st.integers(0, 4), st.integers(1, 9))
def test_changing_one_part_of_a_key_changes_every_number(key: Key, part: int, by: int) -> None:
    changed = list(key)
    changed[part] = f"{key[2]}{by}" if part == 2 else changed[part] + by
    assert not set(numbers(key)) & set(numbers(tuple(changed)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, 1, "a|1", 2, 3), (0, 1, "a", 1, 2)),
        ((0, 12, "x", 0, 0), (0, 1, "2|x", 0, 0)),
        ((1, 2, "", 3, 4), (1, 2, "|", 3, 4)),
    ],
)
def test_a_separator_inside_a_rows_name_confuses_no_keys(one: Key, other: Key) -> None:
    assert numbers(one) != numbers(other)


@given(keys, st.integers(0, 50), st.integers(0, 50))
def test_a_longer_answer_begins_with_the_numbers_of_a_shorter_one(key: Key, short: int, more: int) -> None:
    assert numbers(key, short + more)[:short] == numbers(key, short)


def test_numbers_lie_in_the_half_open_unit_interval_and_spread_evenly() -> None:
    drawn = np.concatenate([uniforms(0, 0, Prompt("row", (), "", ()), sample, 1000) for sample in range(100)])
    assert drawn.dtype == np.float64
    assert 0 <= drawn.min() < drawn.max() < 1
    counts = np.histogram(drawn, 50, (0, 1))[0]
    chi_square = ((counts - 2000) ** 2 / 2000).sum()
    assert chi_square < 101.0  # 49 degrees of freedom: exceeded once in 100,000


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.01}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"n": 0}, "n must"),
    ],
)
def test_impossible_parameters_are_refused_by_name(changes: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        SamplingParams(**changes)


def test_the_laws_kind_follows_from_its_parameters() -> None:
    assert SamplingParams(temperature=0).greedy
    assert not SamplingParams(temperature=0.01).greedy
