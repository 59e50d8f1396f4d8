"""The queue between requests and the one scorer: samples of several requests are judged together."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from lightrft_rewards.samples import Outcome, Sample

LATE = Outcome(timed_out=True)


class QueueFull(Exception):
    """There is no room for a request's samples."""


@dataclass(eq=False)
class Ticket:
    """One request in the queue, used on the event loop alone.

    deadline: when (time.monotonic) samples without an outcome have timed out. outcomes: by place; None where there is
    none yet. done: set once there is one everywhere.
    """

    deadline: float
    outcomes: list[Outcome | None]
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _missing: int = field(init=False)

    def __post_init__(self) -> None:
        self._missing = self.outcomes.count(None)
        if not self._missing:
            self.done.set()

    def settle(self, place: int, outcome: Outcome) -> None:
        """Keep what became of a sample, unless that is known already."""
        if self.outcomes[place] is None:
            self.outcomes[place] = outcome
            self._missing -= 1
            if not self._missing:
                self.done.set()

    def give_up(self) -> list[Outcome]:
        """All outcomes; a sample without one has timed out."""
        whole = [outcome or LATE for outcome in self.outcomes]
        self.outcomes, self._missing = list(whole), 0
        self.done.set()
        return whole


@dataclass(frozen=True)
class Call:
    """Samples of one request that are judged in one call. places: of the samples in the ticket."""

    ticket: Ticket
    places: Sequence[int]
    samples: Sequence[Sample]


class BatchingQueue:
    """Calls in order of arrival, at most max_queue samples; used on the event loop alone.

    max_batch: samples judged at once. max_wait: seconds that the first sample of a batch waits for company.
    """

    def __init__(self, *, max_batch: int, max_wait: float, max_queue: int) -> None:
        self.max_batch, self.max_wait, self.max_queue = max_batch, max_wait, max_queue
        self._waiting: dict[Ticket, deque[Call]] = {}
        self._arrived: dict[Ticket, float] = {}
        self._size = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Samples that wait."""
        return self._size

    def put(self, ticket: Ticket, calls: Sequence[Call]) -> None:
        """Append a request's calls, none of them empty; one of more than max_batch samples is cut. Raises QueueFull."""
        size = sum(len(call.places) for call in calls)
        if not size:
            return
        if self._size + size > self.max_queue:
            raise QueueFull
        pieces = (
            Call(ticket, call.places[start : start + self.max_batch], call.samples[start : start + self.max_batch])
            for call in calls
            for start in range(0, len(call.places), self.max_batch)
        )
        self._waiting[ticket] = deque(pieces)
        self._arrived[ticket] = time.monotonic()
        self._size += size
        self._changed.set()

    def drop(self, ticket: Ticket) -> None:
        """Take out what of a request still waits."""
        calls = self._waiting.pop(ticket, deque())
        self._arrived.pop(ticket, None)
        self._size -= sum(len(call.places) for call in calls)

    async def take(self) -> list[Call]:
        """The next batch, once there is something to judge: as many calls as fit, and at least one.

        Samples over their deadline are settled as timed out and left out.
        """
        while True:
            await self._company()
            batch, size = list[Call](), 0
            while self._waiting:
                ticket, calls = next(iter(self._waiting.items()))
                if ticket.deadline <= time.monotonic():
                    self.drop(ticket)
                    ticket.give_up()
                    continue
                if batch and size + len(calls[0].places) > self.max_batch:
                    break
                call = calls.popleft()
                batch.append(call)
                size += len(call.places)
                self._size -= len(call.places)
                if not calls:
                    self.drop(ticket)
            if batch:
                return batch

    async def _company(self) -> None:
        """Wait until something is there, and then until a batch is full or its first sample has waited long enough."""
        while True:
            self._changed.clear()
            if not self._waiting:
                await self._changed.wait()
                continue
            left = next(iter(self._arrived.values())) + self.max_wait - time.monotonic()
            if left <= 0 or self._size >= self.max_batch:
                return
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return
