"""What the processes of one run do together, and what the first does for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from traceback import extract_tb
from typing import TypeVar

from lightrft_apps.config import RanksArgs
from lightrft_apps.config.any_hold import find_hold
from lightrft_core import Ranks
from lightrft_strategy.ring import Ring
from lightrft_strategy.sequence import SequenceGroup, sequence_group
from lightrft_strategy.training import Hold, Whole
from lightrft_strategy.training.fsdp2 import FullyShard
from lightrft_strategy.training.heartbeat import Heartbeat
from lightrft_strategy.training.pulse import Awaited, Pulse
from lightrft_strategy.training.ranks import open_ranks
from lightrft_strategy.training.stacks import Frame, waits_for_ranks
from lightrft_strategy.training.zero import Zero
from lightrft_strategy.ulysses import Ulysses

T = TypeVar("T")

END_SECONDS = 10.0
"""How long after a collective failed the end of the rank that caused it may take to show."""


class RankLost(Exception):
    """Another process of the run has ended, or did not come; the message says which, and what it was doing."""


@dataclass(frozen=True)
class Together:
    """The processes of a run.

    pulse: what this one does and waits for. heartbeat: tells the others, and whoever looks at the run; None: nobody is
    told.
    """

    ranks: Ranks
    pulse: Pulse
    heartbeat: Heartbeat | None = None

    @property
    def first(self) -> bool:
        return self.ranks.rank == 0

    def doing(self, what: str, step: int | None = None, awaited: Awaited | None = None) -> None:
        """Let the others know what this one does. awaited: what it waits for in doing it, if it does not compute."""
        self.pulse.doing(what, step, awaited)

    def keep(self, folder: Path, args: RanksArgs) -> None:
        """From now on leave word of it in a folder, and end the run once a process makes no progress for too long."""
        if self.heartbeat is not None:
            self.heartbeat.keep(folder, args.ranks_timeout if args.stall_timeout is None else args.stall_timeout)


@contextmanager
def several(args: RanksArgs) -> Iterator[Together]:
    """The processes that the launcher has started, or this one alone.

    Raises RankLost in place of what a collective says when another process has ended in it, or has not come to it.
    """
    with open_ranks(timedelta(seconds=args.ranks_timeout), args.tp_size * args.row_ranks) as ranks:
        alone, pulse = ranks.world_size == 1, Pulse()
        heartbeat = Heartbeat(pulse) if alone else Heartbeat.of_launch(pulse, ranks)
        failure = "it was not told"
        try:
            yield Together(ranks, pulse, heartbeat)
            failure = ""
        except RuntimeError as error:
            failure = _words(error)
            gone = heartbeat.lost(END_SECONDS) if not alone else ""
            if gone:
                raise RankLost(f"rank {ranks.rank}: a rank is lost: {gone}") from error
            missing = heartbeat.missing() if _of_a_collective(error) else ""
            if missing:
                raise RankLost(f"rank {ranks.rank} waited for other ranks in vain: {missing}") from error
            raise
        except BaseException as error:
            failure = _words(error)
            raise
        finally:
            heartbeat.close(failure)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _of_a_collective(error: BaseException) -> bool:
    """Whether it was raised while this process waited for others."""
    calls = [Frame(call.filename, call.lineno or 0, call.name) for call in extract_tb(error.__traceback__)]
    return waits_for_ranks(calls[::-1])


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
    tp_size, timeout = args.tp_size, timedelta(seconds=args.ranks_timeout)
    if args.fsdp:
        return FullyShard(args.fsdp_reshard, args.fsdp_offload, tp_size, timeout)
    if args.zero_stage is not None:
        return Zero(args.zero_stage, args.adam_offload, args.overlap_comm, tp_size=tp_size, timeout=timeout)
    return Whole if args.strategy is None else find_hold(args.strategy)


def row_group_of(args: RanksArgs, ranks: Ranks) -> SequenceGroup | None:
    """The ranks that compute each packed row with this one, as the flags want it; every rank calls it, once a run."""
    kind = Ring if args.ring_attn_size > 1 else Ulysses
    return sequence_group(kind, ranks, timedelta(seconds=args.ranks_timeout), args.tp_size)
