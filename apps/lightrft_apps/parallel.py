"""What the processes of one run do together, and what the first does for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from lightrft_apps.config import RanksArgs
from lightrft_core import Ranks
from lightrft_strategy.training import Hold, Whole
from lightrft_strategy.training.fsdp2 import FullyShard
from lightrft_strategy.training.heartbeat import Heartbeat
from lightrft_strategy.training.ranks import open_ranks
from lightrft_strategy.training.zero import Zero

T = TypeVar("T")

END_SECONDS = 10.0
"""How long after a collective failed the end of the rank that caused it may take to show."""


class RankLost(Exception):
    """Another process of the run has ended; the message says which, and what it was doing."""


@dataclass(frozen=True)
class Together:
    """The processes of a run. heartbeat: None where there is one."""

    ranks: Ranks
    heartbeat: Heartbeat | None

    @property
    def first(self) -> bool:
        return self.ranks.rank == 0

    def doing(self, what: str) -> None:
        """Let the others know what this one does."""
        if self.heartbeat is not None:
            self.heartbeat.phase = what


@contextmanager
def several(args: RanksArgs) -> Iterator[Together]:
    """The processes that the launcher has started, or this one alone.

    Raises RankLost in place of what a collective says when another process has ended in it.
    """
    with open_ranks(timedelta(seconds=args.ranks_timeout), args.sp_size) as ranks:
        if ranks.world_size == 1:
            yield Together(ranks, None)
            return
        heartbeat = Heartbeat.of_launch(ranks.rank, ranks.world_size)
        try:
            yield Together(ranks, heartbeat)
        except RuntimeError as error:
            gone = heartbeat.lost(END_SECONDS)
            if gone:
                raise RankLost(f"rank {ranks.rank}: a rank is lost: {gone}") from error
            raise
        finally:
            heartbeat.close()


def by_the_first(ranks: Ranks, action: Callable[[], T]) -> T:
    """What an action gives that rank 0 alone carries out; every rank has it. If it fails there, all ranks end.

    Rank 0 raises what the action raised, the others SystemExit, so that the reason is told once.
    """
    done: list[T] = []
    try:
        if ranks.rank == 0:
            done.append(action())
    finally:
        done = ranks.gather(done)
    if not done:
        raise SystemExit(1)
    return done[0]


def hold_of(args: RanksArgs) -> Hold:
    """How the flags want models to lie on the ranks."""
    if args.fsdp:
        return FullyShard(args.fsdp_reshard, args.fsdp_offload)
    if args.zero_stage is not None:
        return Zero(args.zero_stage, args.adam_offload, args.overlap_comm)
    return Whole
