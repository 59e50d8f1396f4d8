"""How work is dealt to ranks, and the run of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import Metrics, OneRank, share

from .threads import on_ranks

world_sizes = st.integers(1, 12)


@dataclass
class Rank(OneRank):
    """A number among so many."""

    rank: int
    world_size: int


@given(st.lists(st.integers()), world_sizes)
def test_the_shares_of_all_ranks_one_after_another_are_the_whole_in_its_order(items: list[int], world_size) -> None:
    shares = [share(items, Rank(rank, world_size)) for rank in range(world_size)]
    assert [*chain.from_iterable(shares)] == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.lists(st.integers(), max_size=9), st.integers(1, 4))
def test_every_rank_gathers_the_whole_of_what_was_shared(items: list[int], world_size: int) -> None:
    assert on_ranks(world_size, lambda ranks: ranks.gather(share(items, ranks))) == [items] * world_size


def test_one_rank_has_the_whole_share_and_gathers_it_as_it_is() -> None:
    alone, items, metrics = OneRank(), [object(), object()], Metrics()
    metrics.mean("m", [1.0, 2.0])
    assert (alone.rank, alone.world_size) == (0, 1)
    assert alone.gather(share(items, alone)) == items
    assert alone.reduce(metrics) == {"m": 1.5}
