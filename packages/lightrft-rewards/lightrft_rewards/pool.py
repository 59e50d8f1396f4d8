"""Rewards in worker processes: a deadline for every sample, and nothing a worker does can harm the run."""

from __future__ import annotations

import math
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self

from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.frames import encode, frame
from lightrft_rewards.jobs import Assignment, plan_jobs
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.scoring import Scoring
from lightrft_rewards.worker_process import Job, WorkerProcess, describe_exit, start_worker

_LOOK_AFTER = 0.5
_GRACE = 2.0


class RewardPool:
    """Worker processes that judge samples.

    A user's function gets one call of `score` at a time whole (in training: all answers to one prompt). If such a call
    raises, returns something that does not fit, kills its worker or takes longer than the deadline, its samples are
    judged again one by one, so a function must accept a single sample, and should judge each for itself.
    Rules judge sample by sample. In every case the clock runs from the moment the worker begins, and a worker over its
    deadline is killed with all its children (those that leave its process group excepted) and replaced.
    Not for use from several threads at once.
    """

    def __init__(
        self,
        scoring: Scoring,
        *,
        timeout: float = 10.0,
        num_workers: int | None = None,
        start_timeout: float = 120.0,
        judging: Callable[[], AbstractContextManager[Callable[[], None]]] = lambda: nullcontext(_nothing),
    ) -> None:
        """Starts the workers and waits until all are ready.

        timeout: seconds for one sample, and also for one call of a user's function before it is split up.
        num_workers: None for one per core, at most 4. start_timeout: seconds for a worker to import what it needs.
        judging: entered while samples are judged; it gives what to call whenever outcomes have come.
        Raises RewardSetupError if the reward does not load, ValueError for a number out of range.
        """
        if not (timeout > 0 and start_timeout > 0 and (num_workers is None or num_workers > 0)):
            raise ValueError(
                f"the reward time-outs and the number of reward workers must be above 0; they are {timeout}, "
                f"{start_timeout} and {num_workers}"
            )
        self.scoring = scoring
        self.timeout = timeout
        self.num_workers = num_workers or min(len(os.sched_getaffinity(0)), 4)
        self._start_timeout = start_timeout
        self._judging, self._heard = judging, _nothing
        self._setup = encode({**scoring.to_message(), "seconds": timeout})
        self._workers: list[WorkerProcess] = []
        self._closed = False
        try:
            self._fill()
            while not all(worker.ready for worker in self._workers):
                self._turn(None)
        except BaseException:
            self.close()
            raise

    def score(self, calls: Sequence[Sequence[Sample]]) -> list[list[Outcome]]:
        """One outcome per sample, nested as the calls are. Failing samples have an error or are marked as timed out.

        Raises RewardSetupError if a worker that had to be replaced does not load any more, RuntimeError after close.
        """
        if self._closed:
            raise RuntimeError("this reward pool is closed; make a new one")
        work = Assignment([sample for call in calls for sample in call])
        queue = deque(plan_jobs(work, [len(call) for call in calls], bool(self.scoring.function), self.num_workers))
        self._discard(worker for worker in self._workers if worker.exited())
        try:
            with self._judging() as self._heard:
                while work.unjudged:
                    self._fill()
                    for worker in self._workers:
                        if queue and worker.ready and worker.job is None:
                            self._assign(worker, queue.popleft(), work)
                    queue.extend(self._turn(work))
        finally:
            self._discard(worker for worker in self._workers if worker.job is not None)
        outcomes = iter(work.finished())
        return [[next(outcomes) for _ in call] for call in calls]

    def fingerprint(self) -> str:
        """Differs when the rules, their weights or the text of the function's file differ."""
        return self.scoring.fingerprint()

    def describe(self, sample: Sample) -> str:
        """What judges the sample, and how long it has."""
        return f"{self.scoring.name_for(sample)} ({self.timeout:g} s a sample) on {sample.name}"

    def close(self) -> None:
        """End all workers and what they have started; can be called again."""
        self._closed = True
        for worker in self._workers:
            worker.hang_up()
        patience = time.monotonic() + _GRACE
        while time.monotonic() < patience and not all(worker.exited() for worker in self._workers if not worker.job):
            time.sleep(0.01)
        self._discard(self._workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self) -> None:
        while len(self._workers) < self.num_workers:
            self._workers.append(start_worker(self._setup, self._start_timeout))

    def _discard(self, workers: Iterator[WorkerProcess] | list[WorkerProcess]) -> None:
        for worker in list(workers):
            self._workers.remove(worker)
            worker.kill()

    def _assign(self, worker: WorkerProcess, job: Job, work: Assignment) -> None:
        samples = b",".join(work.encoded[number] for number in job.pending)
        worker.job = job
        worker.expect(self._start_timeout)
        worker.send(frame(b'{"call_size":%d,"samples":[%s]}' % (job.call_size, samples)))

    def _turn(self, work: Assignment | None) -> list[Job]:
        """Wait for something to happen, and see to it. Returns the jobs that have to be done again."""
        self._wait()
        again: list[Job] = []
        for worker in list(self._workers):
            ended = worker.exited()
            for message in worker.receive():
                self._hear(worker, message, work)
            if ended or worker.hung_up:
                again += self._bury(worker, work, timed_out=False)
            elif time.monotonic() > worker.deadline:
                again += self._bury(worker, work, timed_out=True)
        return again

    def _wait(self) -> None:
        """Until a worker has something to say, or can take more, or may have to be killed."""
        poll = select.poll()
        for worker in self._workers:
            poll.register(worker.output.fileno(), select.POLLIN)
            if worker.unsent:
                poll.register(worker.input.fileno(), select.POLLOUT)
        nearest = min((worker.deadline for worker in self._workers), default=math.inf) - time.monotonic()
        poll.poll(max(0.0, min(nearest, _LOOK_AFTER)) * 1000 + 1)
        for worker in self._workers:
            worker.flush()

    def _hear(self, worker: WorkerProcess, message: dict[str, Any], work: Assignment | None) -> None:
        if "failed" in message:
            raise RewardSetupError(message["failed"])
        if "ready" in message:
            worker.ready = True
            worker.deadline = math.inf
            self._heard()
        elif "begin" in message:
            worker.in_flight = message["begin"]
            worker.expect(self.timeout)
        elif work is not None and worker.job is not None:
            worker.in_flight = 0
            self._heard()
            for outcome in message["outcomes"]:
                work.settle(worker.job.pending.popleft(), Outcome(**outcome))
            worker.expect(self._start_timeout)
            if not worker.job.pending:
                worker.job = None
                worker.deadline = math.inf

    def _bury(self, worker: WorkerProcess, work: Assignment | None, *, timed_out: bool) -> list[Job]:
        """Kill a worker that is over its deadline, or clear away one that has ended.

        The one sample it was judging gets the blame; if there were several, each is tried again alone. A worker that
        ended before it began on its job is no sample's fault, unless that befalls the same job twice.
        """
        self._workers.remove(worker)
        code = worker.kill()
        if not worker.ready:
            raise RewardSetupError(self._why_not_ready(code, timed_out))
        if worker.job is None or work is None:
            return []
        job = worker.job
        self._heard()
        if not worker.in_flight and not job.returned:
            job.returned = True
            return [job]
        suspects = [job.pending.popleft() for _ in range(max(worker.in_flight, 1))]
        if len(suspects) == 1:
            sample = work.samples[suspects[0]]
            blame = f"{self.scoring.name_for(sample)} on {sample.name}: its worker process {describe_exit(code)}"
            work.settle(suspects[0], Outcome(timed_out=True) if timed_out else Outcome(error=blame))
            again = []
        else:
            again = [Job(deque([suspect]), call_size=1) for suspect in suspects]
        return [*again, job] if job.pending else again

    def _why_not_ready(self, code: int, timed_out: bool) -> str:
        subject = self.scoring.function or "the rewards' worker"
        if timed_out:
            return f"{subject} did not load within {self._start_timeout:g} seconds"
        return f"{subject} did not load: its worker process {describe_exit(code)}; see what it printed above"


def _nothing() -> None:
    pass
