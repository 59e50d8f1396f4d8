"""One scorer in one thread: whatever it raises or returns, every sample has one outcome."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from lightrft_rewards.explain import explain
from lightrft_rewards.notes import note_of
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.scorer import Scorer

T = TypeVar("T")


class ScorerThread:
    """A thread of its own for everything a scorer does, beginning with its loading.

    It ends with the process even in the midst of judging: nothing waits for a scorer that hangs.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="scorer", daemon=True).start()

    async def run(self, work: Callable[[], T]) -> T:
        """What the work returns, or raises; it is done after all that was given before."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001
                _tell(loop, future, None, error)
            else:
                _tell(loop, future, result, None)

        self._jobs.put(job)
        return await future

    def _work(self) -> None:
        while True:
            self._jobs.get()()


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], result: T | None, error: BaseException | None
) -> None:
    def settle() -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error if isinstance(error, Exception) else RuntimeError(explain(error)))
        else:
            future.set_result(result)  # type: ignore[arg-type]

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def judge(
    scorer: Scorer, calls: Sequence[Sequence[Sample]], failed: Callable[[BaseException], None]
) -> list[list[Outcome]]:
    """One outcome per sample, nested as the calls are.

    If the scorer raises, or what it returns does not fit, calls are judged again one by one, and then their samples, so
    that only the culprits have an error. failed: told of each exception.
    """
    try:
        return [
            [_checked(outcome, sample) for outcome, sample in zip(judged, call, strict=True)]
            for judged, call in zip(scorer.score(calls), calls, strict=True)
        ]
    except Exception as error:  # noqa: BLE001
        failed(error)
        if len(calls) > 1:
            return [outcomes for call in calls for outcomes in judge(scorer, [call], failed)]
        (call,) = calls
        if len(call) > 1:
            return [[judge(scorer, [[sample]], failed)[0][0] for sample in call]]
        return [[Outcome(error=f"{sample.name}: {explain(error)}") for sample in call]]


def _checked(outcome: Outcome, sample: Sample) -> Outcome:
    """The outcome as JSON can hold it: a score that is no finite number is an error, never a reward."""
    notes = {str(part): note_of([str(note)]) for part, note in outcome.notes.items()}
    if outcome.timed_out or outcome.error:
        return Outcome(error=outcome.error, timed_out=outcome.timed_out, notes=notes)
    if outcome.score is None:
        return Outcome(error=f"{sample.name}: nothing was said about it")
    parts, metrics = (
        {str(name): float(value) for name, value in numbers.items()} for numbers in (outcome.parts, outcome.metrics)
    )
    score, accuracy = float(outcome.score), None if outcome.accuracy is None else float(outcome.accuracy)
    steps = tuple((int(end), float(reward)) for end, reward in outcome.steps)
    for value in (score, accuracy or 0.0, *parts.values(), *metrics.values(), *(reward for _, reward in steps)):
        if not math.isfinite(value):
            return Outcome(error=f"{sample.name}: it was judged with {value}, which is no reward")
    return Outcome(score=score, accuracy=accuracy, parts=parts, metrics=metrics, steps=steps, notes=notes)
