"""The samples of one call of a pool: how they are shared out, and what has become of them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence

from lightrft_rewards.samples import Outcome, Sample, sample_to_json
from lightrft_rewards.worker_process import Job

_SHARES_PER_WORKER = 4
_LARGEST_SHARE = 64


class Assignment:
    """Samples by number, encoded for a worker, and their outcomes so far.

    A sample that does not fit into JSON has its outcome, an error, from the start.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.encoded: dict[int, bytes] = {}
        self.outcomes: dict[int, Outcome] = {}
        for number, sample in enumerate(samples):
            try:
                self.encoded[number] = json.dumps(sample_to_json(sample)).encode()
            except (TypeError, ValueError) as error:
                problem = f"{sample.name} cannot be sent to a reward worker: {error}; its label must be plain JSON"
                self.outcomes[number] = Outcome(error=problem)

    @property
    def unjudged(self) -> int:
        """How many samples have no outcome yet."""
        return len(self.samples) - len(self.outcomes)

    def settle(self, number: int, outcome: Outcome) -> None:
        """Keep what became of one sample."""
        self.outcomes[number] = outcome

    def finished(self) -> list[Outcome]:
        """All outcomes in the order of the samples."""
        return [self.outcomes[number] for number in range(len(self.samples))]


def plan_jobs(work: Assignment, call_sizes: Sequence[int], whole_calls: bool, num_workers: int) -> list[Job]:
    """The samples shared out. whole_calls: each call is one job, judged at once; otherwise shares of any samples,
    judged one by one, small enough that no worker idles for long."""
    numbers = sorted(work.encoded)
    if not whole_calls:
        size = min(max(len(numbers) // (num_workers * _SHARES_PER_WORKER), 1), _LARGEST_SHARE)
        shares = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        return [Job(deque(share), call_size=1) for share in shares]
    jobs: list[Job] = []
    start = 0
    for size in call_sizes:
        share = [number for number in range(start, start + size) if number in work.encoded]
        if share:
            jobs.append(Job(deque(share), call_size=len(share)))
        start += size
    return jobs
