"""Which of several endpoints is asked next: the least busy of those that answer, and dead ones ever more rarely."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds that an endpoint is left alone after a failure, doubled with each further one; then one request tries it."""

SHORTEST_PAUSE = 0.05
"""Seconds between two looks at an endpoint that is being tried."""

LONGEST_BUSY = 30.0
"""A service that asks for more patience is asked again after so many seconds all the same."""


@dataclass(eq=False)
class Endpoint:
    """One service as its clients see it.

    url: as it was given. dialect: what it speaks, "" while that is not known. failures: one after the other, without an
    answer between. rests_until: when (time.monotonic) it may be asked again. in_flight: requests it has not answered
    yet. refused: why it is of no use, whatever is sent; "" if it is.
    """

    url: str
    dialect: str = ""
    failures: int = 0
    rests_until: float = 0.0
    in_flight: int = 0
    refused: str = ""
    last_failure: str = field(default="", repr=False)


class Rotation:
    """The endpoints of one client; for use from several threads."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.endpoints = [Endpoint(url) for url in urls]
        self._lock = threading.Lock()
        self._last = -1
        self._random = random.Random()
        self._alive_at = time.monotonic()

    def next(self) -> Endpoint | float | None:
        """An endpoint to ask now, to be handed to one of the methods below when it has been; or the seconds until one
        may be asked; or None if all are of no use."""
        with self._lock:
            usable = [endpoint for endpoint in self.endpoints if not endpoint.refused]
            if not usable:
                return None
            now = time.monotonic()
            awake = [
                endpoint
                for endpoint in usable
                if endpoint.rests_until <= now and not (endpoint.failures and endpoint.in_flight)
            ]
            if not awake:
                return max(min(endpoint.rests_until for endpoint in usable) - now, SHORTEST_PAUSE)
            least = min(endpoint.in_flight for endpoint in awake)
            count = len(self.endpoints)
            turns = ((self._last + 1 + step) % count for step in range(count))
            chosen = next(
                turn for turn in turns if self.endpoints[turn] in awake and self.endpoints[turn].in_flight == least
            )
            self._last = chosen
            self.endpoints[chosen].in_flight += 1
            return self.endpoints[chosen]

    def answered(self, endpoint: Endpoint) -> None:
        """It has answered, whatever it said."""
        with self._lock:
            endpoint.in_flight -= 1
            endpoint.failures, endpoint.rests_until, endpoint.last_failure = 0, 0.0, ""
            self._alive_at = time.monotonic()

    def revived(self, endpoint: Endpoint) -> None:
        """It is there, before it is asked what it was chosen for."""
        with self._lock:
            endpoint.failures, endpoint.rests_until, endpoint.last_failure = 0, 0.0, ""
            self._alive_at = time.monotonic()

    def busy(self, endpoint: Endpoint, seconds: float, why: str) -> None:
        """It is there, and asks to be left alone for a while."""
        with self._lock:
            endpoint.in_flight -= 1
            endpoint.failures, endpoint.last_failure = 0, why
            endpoint.rests_until = time.monotonic() + self._jittered(min(seconds, LONGEST_BUSY))
            self._alive_at = time.monotonic()

    def failed(self, endpoint: Endpoint, why: str) -> None:
        """It has not answered, or nonsense. Requests that fail together are one failure."""
        with self._lock:
            endpoint.in_flight -= 1
            now = time.monotonic()
            if endpoint.rests_until <= now:
                endpoint.failures += 1
                pause = min(FIRST_PAUSE * 2 ** min(endpoint.failures - 1, 16), LONGEST_PAUSE)
                endpoint.rests_until = now + self._jittered(pause)
            endpoint.last_failure = why

    def refuse(self, endpoint: Endpoint, why: str) -> None:
        """It will never judge for this client."""
        with self._lock:
            endpoint.in_flight -= 1
            endpoint.refused = why

    @property
    def down(self) -> bool:
        """Whether none of them answers."""
        with self._lock:
            return all(endpoint.failures or endpoint.refused for endpoint in self.endpoints)

    @property
    def alive_at(self) -> float:
        """When (time.monotonic) any of them last answered, or when this rotation was made."""
        with self._lock:
            return self._alive_at

    def troubles(self) -> str:
        """What is wrong with each endpoint that has not answered, for messages."""
        with self._lock:
            said = [
                f"{endpoint.url}: {trouble}"
                for endpoint in self.endpoints
                if (trouble := endpoint.refused or endpoint.last_failure)
            ]
        return "; ".join(said) or "no endpoint has been asked"

    def _jittered(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.75, 1.25)
