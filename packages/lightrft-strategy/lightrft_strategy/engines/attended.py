"""An engine's server waited for: what a process waits for is told meanwhile, and said once it has waited in vain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from lightrft_strategy.engines.backend import Backend, Completion, EngineDied, EngineTimeout, Part, Request
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received
from lightrft_strategy.training.pulse import Pulse


class Server(Backend, Protocol):
    """A Backend that is reached over the network."""

    url: str


@contextmanager
def waiting(what: str, pulse: Pulse, rank: int) -> Iterator[Callable[[], None]]:
    """While the block runs this process waits for `what`, which has a time-out of its own; what the block is given is
    to be called whenever something comes.

    pulse: told of it. Raises the block's EngineDied or EngineTimeout, with which rank waited for what, in which phase,
    and since when in vain.
    """
    since = time.time()

    def came() -> None:
        nonlocal since
        since = time.time()
        sign()

    try:
        with pulse.waiting(what, "bounded") as sign:
            yield came
    except (EngineDied, EngineTimeout) as error:
        clock, seconds = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since)), time.time() - since
        raise type(error)(
            f"rank {rank} waited for {what} in {pulse.now_doing}, in vain since {clock} ({seconds:.0f} s): {error}"
        ) from error


class Attended:
    """A Backend over a server, while whose work `pulse` says that this process waits for it. rank: this process."""

    def __init__(self, server: Server, pulse: Pulse, rank: int) -> None:
        self.server, self.pulse, self.rank = server, pulse, rank
        self.name, self.cannot, self.survives = server.name, server.cannot, server.survives

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        """As the server does; every answer is a sign that it gets on."""
        with waiting(self._what, self.pulse, self.rank) as came:

            def pass_on(index: int, completion: Completion) -> None:
                came()
                done(index, completion)

            self.server.complete(requests, pass_on)

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """As the server does."""
        with waiting(self._what, self.pulse, self.rank):
            return self.server.score(token_ids)

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        """As the server does."""
        with waiting(f"{self._what} to take new weights", self.pulse, self.rank):
            return self.server.receive(version, tensors)

    def sleep(self) -> None:
        """As the server does."""
        with waiting(f"{self._what} to give its memory back", self.pulse, self.rank):
            self.server.sleep()

    def wake(self, part: Part) -> None:
        """As the server does."""
        with waiting(f"{self._what} to take its memory again", self.pulse, self.rank):
            self.server.wake(part)

    def restart(self) -> None:
        """As the server does."""
        with waiting(f"{self._what} to start again", self.pulse, self.rank):
            self.server.restart()

    def close(self) -> None:
        """End the server, if it is ours."""
        self.server.close()

    @property
    def _what(self) -> str:
        return f"the engine at {self.server.url}"
