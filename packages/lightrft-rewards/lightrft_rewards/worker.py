"""The worker process: ``python -m lightrft_rewards.worker LIFELINE``, started by worker_process.

It reads one message that says what to judge by, answers {"ready": true} or {"failed": why}, and then judges
{"call_size": k, "samples": [...]} until its input ends. Each call is announced by {"begin": number of samples}, on
which the parent starts its clock, and answered by {"outcomes": [...]}.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from lightrft_rewards.combination import parse_routes
from lightrft_rewards.deadline import set_sample_seconds
from lightrft_rewards.errors import CallError, RewardSetupError
from lightrft_rewards.frames import encode, read_frame
from lightrft_rewards.rule_scoring import ScoreCall, rule_scorer
from lightrft_rewards.samples import Sample, outcome_to_json
from lightrft_rewards.user_function import function_scorer

STACKS = "lightrft-stacks"
"""The file in memory to which the stacks of all threads are written on SIGUSR1; others read it below /proc."""


def main(lifeline: int) -> None:
    """Judge until the input ends. lifeline: read end of a pipe that nobody writes to and the parent holds open."""
    requests, replies = _take_over_pipes()
    faulthandler.register(signal.SIGUSR1, file=os.memfd_create(STACKS), all_threads=True)
    _die_with_parent(lifeline)

    def send(message: dict[str, Any]) -> None:
        replies.write(encode(message))
        replies.flush()

    setup = read_frame(requests)
    if setup is None:
        return
    set_sample_seconds(setup["seconds"])
    try:
        scorer = _scorer(setup)
    except RewardSetupError as error:
        send({"failed": str(error)})
        return
    send({"ready": True})
    while (request := read_frame(requests)) is not None:
        samples = [Sample(**values) for values in request["samples"]]
        size = request["call_size"]
        for start in range(0, len(samples), size):
            _judge(scorer, samples[start : start + size], send)


def _scorer(setup: dict[str, Any]) -> ScoreCall:
    if "routes" in setup:
        return rule_scorer(parse_routes(setup["routes"]))
    return function_scorer(setup["function"], setup["path"])


def _judge(scorer: ScoreCall, samples: Sequence[Sample], send: Callable[[dict[str, Any]], None]) -> None:
    """One call; if it fails as a whole, one for each of its samples, so that only the culprits come to grief."""
    send({"begin": len(samples)})
    try:
        outcomes = scorer(samples)
    except CallError:
        for sample in samples:
            _judge(scorer, [sample], send)
    else:
        send({"outcomes": [outcome_to_json(outcome) for outcome in outcomes]})


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for messages; what anything prints from now on goes to standard error."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this whole process group when the lifeline's other end closes: even while a user's function
    sits in C code and lets no Python thread run."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, 0)
    if poll.poll(0):
        sys.exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
