"""Several engines that share the prompts and hold the same weights, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from lightrft_strategy.engines.backend import Backend, Completion, EngineDied, EngineTimeout, Part, Request
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received, SyncError, Tolerance, check_probe

T = TypeVar("T")


class Fleet:
    """A Backend over several backends of one kind.

    tolerance: how far the members' log-probabilities may lie apart.
    A member's EngineDied or EngineTimeout is the fleet's, raised once the others are through and naming the member.
    """

    def __init__(self, members: Sequence[Backend], tolerance: Tolerance) -> None:
        self.members, self.tolerance = tuple(members), tolerance
        self.name = self.members[0].name
        self.cannot: Mapping[str, str] = self.members[0].cannot
        self.survives = all(member.survives for member in self.members)

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        """Deal the requests out; `done` is called in the calling thread whichever member answers."""
        hands = deal(requests, len(self.members))
        finished: SimpleQueue[tuple[int, Completion] | None] = SimpleQueue()
        given_up = False

        def play(member: Backend, hand: Sequence[int]) -> None:
            def pass_on(place: int, completion: Completion) -> None:
                if given_up:
                    raise InterruptedError("nobody waits for the answers any more")
                finished.put((hand[place], completion))

            try:
                member.complete([requests[index] for index in hand], pass_on)
            finally:
                finished.put(None)

        with ThreadPoolExecutor(len(self.members)) as pool:
            playing = [pool.submit(play, member, hand) for member, hand in zip(self.members, hands, strict=True)]
            try:
                for _ in self.members:
                    while (answer := finished.get()) is not None:
                        done(*answer)
            except BaseException:
                given_up = True
                raise
        self._results(playing)

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """Log-probability at temperature 1 of each token but the first. Raises SyncError if the members disagree."""
        first, *others = self._all(lambda member: member.score(token_ids))
        for number, other in enumerate(others, 2):
            try:
                check_probe(first, other, self.tolerance)
            except SyncError as error:
                raise SyncError(f"{self._who(number)} and engine 1 hold other weights: {error}") from error
        return first

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        """Hand the weights to all members at the same time."""
        tensors = list(tensors)
        answers = self._all(lambda member: member.receive(version, tensors))
        return [received for answer in answers for received in answer]

    def sleep(self) -> None:
        """Send all members to sleep."""
        self._all(lambda member: member.sleep())

    def wake(self, part: Part) -> None:
        """Wake one part of all members."""
        self._all(lambda member: member.wake(part))

    def restart(self) -> None:
        """Start all members again, so that they are in the same state; together it takes as long as one."""
        self._all(lambda member: member.restart())

    def close(self) -> None:
        """End all members."""
        self._all(lambda member: member.close())

    def _all(self, work: Callable[[Backend], T]) -> list[T]:
        """Do it for all members at once, to the end."""
        with ThreadPoolExecutor(len(self.members)) as pool:
            return self._results([pool.submit(work, member) for member in self.members])

    def _results(self, futures: Sequence[Future[T]]) -> list[T]:
        """Of ended futures. Raises a death before anything else, since it can be mended."""
        errors = [(number, future.exception()) for number, future in enumerate(futures, 1)]
        for number, error in sorted(errors, key=lambda pair: not isinstance(pair[1], EngineDied)):
            if isinstance(error, EngineDied | EngineTimeout):
                raise type(error)(f"{self._who(number)}: {error}") from error
            if error is not None:
                raise error
        return [future.result() for future in futures]

    def _who(self, number: int) -> str:
        return f"engine {number} of {len(self.members)}"


def deal(requests: Sequence[Request], members: int) -> list[list[int]]:
    """Which requests each member answers, in the order given, which puts those expected longest first.

    Answers of one prompt stay together, unless they are more than a member's fair share. Each lot goes to the member
    with the least to do, of equals to the last served, so that who is first in one round is last in the next.
    """
    prompts: dict[Any, list[int]] = {}
    for index, request in enumerate(requests):
        shown = tuple(hash for hashes in request.hashes.values() for hash in hashes)
        prompts.setdefault((request.token_ids, shown), []).append(index)
    fair = -(-len(requests) // members)
    lots = [lot[start : start + fair] for lot in prompts.values() for start in range(0, len(lot), fair)]
    hands: list[list[int]] = [[] for _ in range(members)]
    loads, served = [0] * members, [-member for member in range(members)]
    for turn, lot in enumerate(lots, 1):
        member = min(range(members), key=lambda i: (loads[i], -served[i]))
        loads[member] += sum(len(requests[i].token_ids) + requests[i].law.max_new_tokens for i in lot)
        served[member] = turn
        hands[member] += lot
    return hands
