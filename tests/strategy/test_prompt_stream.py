"""The order in which a run reads its prompts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_core.types import Prompt
from lightrft_strategy.data import PromptDataError, PromptStream


def source(name: str, count: int) -> list[Prompt]:
    return [Prompt(f"{name}:{row}", (), "", (row,)) for row in range(1, count + 1)]


def draws(stream: PromptStream) -> list[tuple[str, int]]:
    """(uid, occurrence) of everything a run reads, in order."""
    return [(p.uid, p.occurrence) for step in range(1, stream.num_steps + 1) for p in stream.batch(step)]


sizes = st.lists(st.integers(1, 12), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 30), st.integers(1, 4), st.integers(0, 2**40))
def test_each_episode_reads_every_row_once(counts: list[int], per_step: int, episodes: int, seed: int) -> None:
    sources = [source(str(i), count) for i, count in enumerate(counts)]
    stream = PromptStream(sources, None, per_step, episodes, seed)
    rows = [prompt.uid for rows in sources for prompt in rows]
    read = draws(stream)
    for episode in range(episodes):
        part = read[episode * len(rows) : (episode + 1) * len(rows)]
        assert Counter(part) == Counter((uid, episode) for uid in rows)
    assert stream.num_steps == -(-len(rows) * episodes // per_step)
    assert all(len(stream.batch(step)) == per_step for step in range(1, stream.num_steps))


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 30), st.integers(1, 4), st.integers(0, 2**40), st.data())
def test_with_probs_a_source_is_read_through_before_a_row_comes_again(
    counts: list[int], per_step: int, episodes: int, seed: int, data: st.DataObject
) -> None:
    probs = data.draw(st.lists(st.floats(0.01, 10), min_size=len(counts), max_size=len(counts)))
    read = draws(PromptStream([source(str(i), n) for i, n in enumerate(counts)], probs, per_step, episodes, seed))
    assert len(read) == sum(counts) * episodes
    for i, count in enumerate(counts):
        own = [draw for draw in read if draw[0].startswith(f"{i}:")]
        for episode in range(-(-len(own) // count)):
            part = own[episode * count : (episode + 1) * count]
            assert {occurrence for _, occurrence in part} == {episode}
            assert len(set(part)) == len(part)


@pytest.mark.parametrize("probs", [None, [3.0, 1.0]])
def test_a_batch_follows_from_its_step_alone(probs: list[float] | None) -> None:
    def fresh() -> PromptStream:
        return PromptStream([source("a", 7), source("b", 5)], probs, 4, 5, 11)

    used = fresh()
    for step in [*range(1, used.num_steps + 1), 3, 1]:
        used.batch(step)
    assert used.batch(7) == fresh().batch(7)


@pytest.mark.parametrize("probs", [None, [3.0, 1.0]])
def test_step_size_and_further_episodes_do_not_change_the_order(probs: list[float] | None) -> None:
    sources = [source("a", 7), source("b", 5)]
    read = draws(PromptStream(sources, probs, 4, 3, 11))
    assert draws(PromptStream(sources, probs, 5, 3, 11)) == read
    assert draws(PromptStream(sources, probs, 100, 3, 11)) == read
    assert draws(PromptStream(sources, probs, 4, 6, 11))[: len(read)] == read


def test_orders_differ_between_episodes_and_seeds() -> None:
    rows = [source("a", 50)]
    first, second = draws(PromptStream(rows, None, 50, 2, 0))[:50], draws(PromptStream(rows, None, 50, 2, 0))[50:]
    other = draws(PromptStream(rows, None, 50, 1, 1))
    orders = [[uid for uid, _ in part] for part in (first, second, other, [(p.uid, 0) for p in rows[0]])]
    assert len({tuple(order) for order in orders}) == 4


def test_sources_are_mixed_in_their_shares_from_start_to_end() -> None:
    read = draws(PromptStream([source("a", 1000), source("b", 3000)], [7, 3], 64, 1, 5))
    for part in (read[:2000], read[2000:]):
        share = sum(uid.startswith("a") for uid, _ in part) / len(part)
        assert share == pytest.approx(0.7, abs=0.04)


def test_the_order_is_the_same_as_ever() -> None:
    """A change here changes every run that is resumed or replayed."""
    assert [uid for uid, _ in draws(PromptStream([source("a", 6)], None, 6, 1, 42))] == [
        "a:6",
        "a:5",
        "a:3",
        "a:2",
        "a:1",
        "a:4",
    ]
    assert [uid for uid, _ in draws(PromptStream([source("a", 3), source("b", 3)], [2, 1], 6, 1, 42))] == [
        "a:3",
        "b:3",
        "a:2",
        "a:1",
        "a:3",
        "a:2",
    ]


def test_a_step_the_run_does_not_have_is_an_error() -> None:
    stream = PromptStream([source("a", 3)], None, 2, 1, 0)
    assert [len(stream.batch(step)) for step in (1, 2)] == [2, 1]
    for step in (0, 3, -1):
        with pytest.raises(ValueError, match="the run has steps 1 to 2"):
            stream.batch(step)


@pytest.mark.parametrize(
    ("sources", "probs", "message"),
    [
        ([], None, "at least one prompt"),
        ([source("a", 1), []], None, "at least one prompt"),
        ([source("a", 1), source("a", 1)], None, 'the uid "a:1" occurs 2 times'),
        ([source("a", 1), source("b", 1)], [1.0], "has 1 numbers"),
        ([source("a", 1), source("b", 1)], [1.0, -1.0], "positive"),
    ],
)
def test_sources_that_do_not_fit_are_refused(
    sources: list[list[Prompt]], probs: list[float] | None, message: str
) -> None:
    with pytest.raises(PromptDataError, match=message):
        PromptStream(sources, probs, 1, 1, 0)
    with pytest.raises(PromptDataError, match="--rollout_batch_size and --num_episodes"):
        PromptStream([source("a", 1)], None, 0, 1, 0)


@settings(max_examples=30, deadline=None)
@given(sizes, st.integers(1, 9), st.integers(0, 50), st.booleans())
def test_spare_prompts_are_what_further_episodes_would_read(
    counts: list[int], per_step: int, start: int, mixed: bool
) -> None:
    sources = [source(str(i), count) for i, count in enumerate(counts)]
    probs = [1.0 + i for i in range(len(counts))] if mixed else None
    stream, longer = (PromptStream(sources, probs, per_step, episodes, 5) for episodes in (1, 100))
    positions = [(p.uid, p.occurrence) for step in range(1, 200) for p in longer.batch(min(step, longer.num_steps))]
    first = sum(counts)
    for begin, count in ((start, 7), (0, 3), (start + 7, 1)):
        read = [(p.uid, p.occurrence) for p in stream.spare(begin, count)]
        if first + begin + count <= min(len(positions), first * 100, 199 * per_step):
            assert read == positions[first + begin : first + begin + count]
    assert draws(stream) == draws(PromptStream(sources, probs, per_step, 1, 5)), "a step's prompts stay what they are"
