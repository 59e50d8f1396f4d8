"""The service without its HTTP: it loads a scorer, judges what is asked in batches, and ends in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, TypeAlias

from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.scorer import Scorer
from lightrft_rewards.service.batching import BatchingQueue, Call, QueueFull, Ticket
from lightrft_rewards.service.judging import ScorerThread, judge
from lightrft_rewards.service.media import Unreadable, with_media
from lightrft_rewards.service.metrics import ServiceMetrics
from lightrft_rewards.service.schema import Asked, Result, ScoreRequest, rejection, result_of

State: TypeAlias = Literal["loading", "ready", "draining", "failed"]

LOG = logging.getLogger("lightrft_rewards.service")
SOONEST, LATEST = 0.05, 5.0
"""Seconds after which a client that was sent away is asked to come again."""


class Unavailable(Exception):
    """Nothing can be judged now. after: seconds until it is worth asking again."""

    def __init__(self, why: str, after: float) -> None:
        super().__init__(why)
        self.after = after


class Abandoned(Exception):
    """Nobody waits for the answer any more."""


class TooMany(ValueError):
    """More than this service ever takes at once."""


@dataclass(frozen=True)
class ServiceLimits:
    """max_batch: samples judged at once. max_wait: seconds a sample waits for company. max_queue: samples that wait.

    deadline: seconds for a sample where its request names none. max_request_bytes: of a request's body.
    max_held_bytes: of all bodies that are being answered. Raises ValueError for numbers that let nothing through.
    """

    max_batch: int = 64
    max_wait: float = 0.002
    max_queue: int = 4096
    deadline: float = 60.0
    max_request_bytes: int = 64 * 2**20
    max_held_bytes: int = 1024 * 2**20

    def __post_init__(self) -> None:
        counts = (self.max_batch, self.max_queue, self.max_request_bytes)
        if min(counts) < 1 or self.max_wait < 0 or self.deadline <= 0 or self.max_held_bytes < self.max_request_bytes:
            raise ValueError(f"{self} lets nothing through")


class RewardService:
    """Judges requests by one scorer, which is built and used in a thread of its own.

    Everything but the scorer's work happens on the event loop that calls `run`.
    """

    def __init__(self, build: Callable[[], Scorer], limits: ServiceLimits) -> None:
        """build: makes the scorer; called once."""
        self.limits, self.metrics = limits, ServiceMetrics()
        self.state: State = "loading"
        self.fingerprint = ""
        self.failure: Exception | None = None
        self.held_bytes = 0
        self.open_requests = 0
        self._build = build
        self._scorer: Scorer | None = None
        self._thread = ScorerThread()
        self._queue = BatchingQueue(max_batch=limits.max_batch, max_wait=limits.max_wait, max_queue=limits.max_queue)
        self._busy_since: float | None = None
        self._seconds_a_sample = 0.0

    async def run(self) -> None:
        """Load the scorer, then judge until cancelled. What loading raises stands in `failure`."""
        try:
            self._scorer = scorer = await self._thread.run(self._build)
            self.fingerprint = await self._thread.run(scorer.fingerprint)
        except Exception as error:  # noqa: BLE001
            self.failure, self.state = error, "failed"
            return
        if self.state == "loading":
            self.state = "ready"
        while True:
            await self._judge_batch(scorer, await self._queue.take())

    def drain(self) -> None:
        """Take no further request; those that are in are answered."""
        self.state = "draining"

    async def close(self, patience: float) -> None:
        """Close the scorer, unless that takes longer than so many seconds."""
        if self._scorer is not None:
            try:
                await asyncio.wait_for(self._thread.run(self._scorer.close), patience)
            except Exception as error:  # noqa: BLE001
                LOG.warning("the scorer could not be closed: %s", type(error).__name__)

    @property
    def queue_length(self) -> int:
        """Samples that wait."""
        return len(self._queue)

    @property
    def busy_seconds(self) -> float:
        """How long the scorer has been at its present batch; 0 while it has none."""
        return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    def require_ready(self) -> None:
        """Raises Unavailable where nothing new is judged."""
        if self.state != "ready":
            raise Unavailable(f"the reward service is {self.state}", 1.0)

    async def judge(
        self, request: ScoreRequest, arrived: float, gone: Callable[[], Coroutine[Any, Any, None]]
    ) -> list[Result]:
        """One result for each sample asked about, in order.

        arrived: when (time.monotonic). gone: ends when nobody waits for the answer any more, whereupon what has not
        been judged yet is left. Raises Unavailable if there is no room, TooMany if there never will be, Abandoned.
        """
        if len(request.asked) > self.limits.max_queue:
            raise TooMany(f"{len(request.asked)} samples are more than the {self.limits.max_queue} that may wait here")
        if any(one.media for one in request.asked):
            readings = await asyncio.to_thread(_read_all, request.asked)
        else:
            readings = _read_all(request.asked)
        ticket = Ticket(
            arrived + (request.deadline or self.limits.deadline),
            [None if isinstance(read, Sample) else Outcome(error=str(read)) for read in readings],
        )
        try:
            self._queue.put(ticket, _calls(ticket, readings))
        except QueueFull:
            after = min(max(self.queue_length * self._seconds_a_sample / 2, SOONEST), LATEST)
            raise Unavailable(f"{self.queue_length} samples wait already", after) from None
        try:
            abandoned = await _abandoned(ticket, gone())
        finally:
            self._queue.drop(ticket)
        if abandoned:
            raise Abandoned
        outcomes = ticket.give_up()
        results = [
            result_of(one, outcome) if isinstance(read, Sample) else rejection(one, str(read))
            for one, read, outcome in zip(request.asked, readings, outcomes, strict=True)
        ]
        self.metrics.count_results(results)
        return results

    async def _judge_batch(self, scorer: Scorer, batch: Sequence[Call]) -> None:
        self._busy_since = began = time.monotonic()
        failures: list[BaseException] = []
        judged = await self._thread.run(lambda: judge(scorer, [call.samples for call in batch], failures.append))
        self._busy_since = None
        seconds, size = time.monotonic() - began, sum(len(call.samples) for call in batch)
        self._seconds_a_sample += 0.2 * (seconds / size - self._seconds_a_sample)
        self.metrics.batch_sizes.observe(size)
        self.metrics.scoring_seconds.observe(seconds)
        self.metrics.scorer_failures += len(failures)
        for error in failures[:1]:
            LOG.warning("the scorer failed on a batch of %d samples: %s", size, type(error).__name__)
        for call, outcomes in zip(batch, judged, strict=True):
            for place, outcome in zip(call.places, outcomes, strict=True):
                call.ticket.settle(place, outcome)


def _read_all(asked: Sequence[Asked]) -> list[Sample | Unreadable]:
    def read(one: Asked) -> Sample | Unreadable:
        try:
            return with_media(one)
        except Unreadable as error:
            return error

    return [read(one) for one in asked]


def _calls(ticket: Ticket, readings: Sequence[Sample | Unreadable]) -> list[Call]:
    """Neighbours that answer the same prompt are one call, as all answers to a prompt are in training."""
    pairs = [(place, read) for place, read in enumerate(readings) if isinstance(read, Sample)]
    together = [list(group) for _, group in groupby(pairs, lambda pair: (pair[1].prompt, pair[1].messages))]
    return [Call(ticket, [place for place, _ in group], [sample for _, sample in group]) for group in together]


async def _abandoned(ticket: Ticket, gone: Coroutine[Any, Any, None]) -> bool:
    """Wait until all is judged, the ticket's time is up, or `gone` ends; whether that ended before all was judged."""
    done, left = (asyncio.ensure_future(one) for one in (ticket.done.wait(), gone))
    seconds = max(ticket.deadline - time.monotonic(), 0.0)
    try:
        ended, _ = await asyncio.wait([done, left], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done.cancel()
        left.cancel()
    return left in ended and not ticket.done.is_set()
