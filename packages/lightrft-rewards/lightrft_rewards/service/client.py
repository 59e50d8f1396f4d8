"""A Scorer that is somewhere else: one or several reward services over HTTP, asked until each sample has an outcome."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import httpx

from lightrft_rewards.api_key import read_key, without_key
from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.explain import writable
from lightrft_rewards.notes import note_of
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.service.endpoints import Endpoint, Rotation
from lightrft_rewards.service.exchange import (
    Absent,
    Busy,
    Faulty,
    Refused,
    Said,
    Unreachable,
    ask_dialect,
    ask_health,
    ask_native,
    base_of,
    problem_with,
)
from lightrft_rewards.service.schema import MOST_SAMPLES

DialectName: TypeAlias = Literal["auto", "native", "openrlhf", "lightrft"]

_PAUSE = 0.5
"""Seconds, about, before one sample that a service failed on is sent again."""

_MOST_LOST = 4
"""How often samples may be on their way to a service that fails before they are suspected of it."""


@dataclass
class _Share:
    """Samples that are sent together.

    numbers: which of their chunk's. spent: seconds that services had for them. lost: how often a service that had
    answered until then did not answer them.
    """

    numbers: Sequence[int]
    spent: float = 0.0
    lost: int = 0

    def halves(self) -> list[_Share]:
        """Two of them, of two samples or more."""
        middle = len(self.numbers) // 2
        return [replace(self, numbers=part) for part in (self.numbers[:middle], self.numbers[middle:])]


class RemoteScorer:
    """Reward services as one Scorer; for use from one thread at a time, and from any.

    The samples of a call are spread over the endpoints. An endpoint that does not answer is left alone for ever longer,
    and what was sent to it goes to the others, or to it again when it is back. Services judge what they are sent as
    often as it comes, so judging must have no effect but its answer.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        name: str = "remote",
        dialect: DialectName = "auto",
        timeout: float = 60.0,
        patience: float = 300.0,
        key_env: str | None = None,
        chunk_size: int = 32,
        connections: int = 8,
        retries: int = 1,
    ) -> None:
        """Asks nobody yet.

        name: what outcomes' parts are called: NAME for the score, NAME.PART for each part that a service names.
        dialect: "auto" is the service's own schema where /health says so, and OpenRLHF's elsewhere.
        timeout: seconds a service has for a sample from when it is sent, waiting in its queue included.
        patience: seconds without an answer of any endpoint, to anything, after which samples fail; a service that is
        started again within them costs nothing.
        key_env: the environment variable that holds the token. chunk_size: samples in a request, except that those of
        one call stay together up to four times as many. connections: requests under way at an endpoint. retries: how
        often a sample is sent again of which a service said that judging it failed.
        Raises RewardSetupError for URLs that are none and for a variable that is not there, ValueError for numbers out
        of range.
        """
        if not urls:
            raise RewardSetupError("a reward service needs a URL, such as http://127.0.0.1:8000")
        for url in urls:
            if problem := problem_with(url):
                raise RewardSetupError(problem)
        if min(timeout, patience) <= 0 or min(chunk_size, connections) < 1 or chunk_size > MOST_SAMPLES or retries < 0:
            raise ValueError(
                "time-out, patience, chunk size and connections must be above 0, retries 0 or more, and the chunk size "
                f"{MOST_SAMPLES} at most"
            )
        self.name, self.urls, self.timeout, self.patience = name, list(urls), timeout, patience
        self._dialect, self._chunk_size, self._retries = dialect, chunk_size, retries
        self._rotation = Rotation(self.urls)
        self._expected, self._fingerprint = "", ""
        self._stopped = threading.Event()
        at_once = connections * len(urls)
        limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once, keepalive_expiry=60.0)
        certified = any(url.startswith("https") for url in urls)  # certificates take a while to load
        self._key = read_key(key_env)
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(headers=headers, limits=limits, trust_env=False, verify=certified)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="reward-client")

    def score(self, calls: Sequence[Sequence[Sample]]) -> list[list[Outcome]]:
        """One outcome per sample, nested as the calls are. Raises RuntimeError after close."""
        if self._stopped.is_set():
            raise RuntimeError("this reward client is closed; make a new one")
        began = time.monotonic()
        chunks = list(self._chunks(calls))
        futures: list[Future[list[Outcome]]] = []
        try:
            futures += [self._threads.submit(self._judge, chunk, began) for chunk in chunks]
            judged = iter([self._told(outcome) for future in futures for outcome in future.result()])
        except BaseException:
            self.close()
            raise
        return [[next(judged) for _ in call] for call in calls]

    def _told(self, outcome: Outcome) -> Outcome:
        """The outcome as others may read it."""
        notes = {part: note_of([without_key(note, self._key)]) for part, note in outcome.notes.items()}
        return replace(outcome, error=writable(without_key(outcome.error, self._key)), notes=notes)

    def fingerprint(self) -> str:
        """Of the URLs, and of the rewards that the services say they judge by.

        Waits for the first service to be ready. Raises RewardSetupError if none is within `patience` seconds, or if
        services judge by different rewards.
        """
        if not self._fingerprint:
            self._find_out()
            content = [sorted(map(base_of, self.urls)), self._dialect, self._expected]
            self._fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        return self._fingerprint

    def describe(self, sample: Sample) -> str:
        """The services, how long they have, and the sample."""
        return f"the reward service {' or '.join(self.urls)} ({self.timeout:g} s a sample) on {sample.name}"

    def close(self) -> None:
        """Let go of all connections; can be called again."""
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _find_out(self) -> None:
        if self._dialect in ("openrlhf", "lightrft"):
            return
        give_up = time.monotonic() + self.patience
        waiting = list(self._rotation.endpoints)
        troubles: dict[str, str] = {}
        while len(waiting) == len(self.urls):
            for endpoint in list(waiting):
                try:
                    self._recognise(endpoint)
                except Refused as error:
                    raise RewardSetupError(f"the reward service {endpoint.url}: {error}") from error
                except Unreachable as error:
                    troubles[endpoint.url] = str(error)
                else:
                    waiting.remove(endpoint)
            if len(waiting) == len(self.urls) and (time.monotonic() > give_up or self._stopped.wait(_PAUSE)):
                said = "; ".join(f"{url}: {trouble}" for url, trouble in troubles.items())
                raise RewardSetupError(f"no reward service was ready within {self.patience:g} s: {said}")

    def _recognise(self, endpoint: Endpoint) -> None:
        """Learn whether an endpoint is there and what it speaks.

        Raises Unreachable, and Refused for a wrong token or if it judges by another reward.
        """
        health = ask_health(self._client, endpoint.url)
        if self._dialect in ("openrlhf", "lightrft"):
            endpoint.dialect = self._dialect
            return
        if not health.native and self._dialect == "native":
            raise Unreachable("what answers there is no reward service of LightRFT")
        if health.native:
            self._expected = self._expected or health.fingerprint
            if health.fingerprint != self._expected:
                raise Refused("it judges by another reward than the other endpoints")
        endpoint.dialect = "native" if health.native else "openrlhf"

    def _chunks(self, calls: Sequence[Sequence[Sample]]) -> Iterator[list[Sample]]:
        """The samples in order, calls kept together as far as they are not too long."""
        chunk: list[Sample] = []
        longest = min(4 * self._chunk_size, MOST_SAMPLES)
        for call in calls:
            for start in range(0, len(call), longest):
                piece = list(call[start : start + longest])
                if chunk and len(chunk) + len(piece) > self._chunk_size:
                    yield chunk
                    chunk = []
                chunk = chunk + piece
        if chunk:
            yield chunk

    def _judge(self, samples: Sequence[Sample], began: float) -> list[Outcome]:
        """One outcome per sample. began: when the call came that these samples are of."""
        outcomes: dict[int, Outcome] = {}
        tries = Counter[int]()
        shares = [_Share(range(len(samples)))]
        while shares:
            share = shares.pop()
            left = self.timeout - share.spent
            if self._stopped.is_set() or left <= 0 or self._silent_since(began) > self.patience:
                outcomes |= {number: self._late(samples[number], began) for number in share.numbers}
                continue
            endpoint = self._rotation.next()
            if isinstance(endpoint, Endpoint):
                shares += self._ask(endpoint, samples, share, left, tries, outcomes)
            elif endpoint is None:
                why = f"no reward service can be asked: {self._rotation.troubles()}"
                outcomes |= {number: Outcome(error=f"{samples[number].name}: {why}") for number in share.numbers}
            else:
                was_down, pause = self._rotation.down, min(endpoint, left)
                self._stopped.wait(max(pause, 0.0))
                shares.append(replace(share, spent=share.spent + (0.0 if was_down else pause)))
        return [outcomes[number] for number in range(len(samples))]

    def _ask(
        self,
        endpoint: Endpoint,
        samples: Sequence[Sample],
        share: _Share,
        left: float,
        tries: Counter[int],
        outcomes: dict[int, Outcome],
    ) -> list[_Share]:
        """Send a share, and keep what became of it. Returns what has to be sent again."""
        began, was_there = time.monotonic(), False
        try:
            if endpoint.failures or not endpoint.dialect:
                self._recognise(endpoint)
                if endpoint.dialect == "native":
                    self._rotation.revived(endpoint)
            was_there = True
            said = self._exchange(endpoint, [samples[number] for number in share.numbers], left)
        except Unreachable as error:
            self._rotation.failed(endpoint, str(error))
            innocent = not was_there or (isinstance(error, Absent) and endpoint.dialect != "native")
            return [share] if innocent else self._lost(share, error, samples, outcomes)
        except Refused as error:
            self._rotation.refuse(endpoint, str(error))
            return [share]
        except Busy as error:
            self._rotation.busy(endpoint, error.after, str(error))
            return [replace(share, spent=share.spent + time.monotonic() - began)]
        except Faulty as error:
            self._rotation.answered(endpoint)
            return self._apart(share, error, samples, tries, outcomes)
        except BaseException:
            self._rotation.answered(endpoint)
            raise
        self._rotation.answered(endpoint)
        again: list[int] = []
        for number, one in zip(share.numbers, said, strict=True):
            tries[number] += 1
            if one.again and tries[number] <= self._retries:
                again.append(number)
            else:
                outcomes[number] = self._named(one.outcome)
        return [_Share(again, share.spent + time.monotonic() - began)] if again else []

    def _exchange(self, endpoint: Endpoint, samples: Sequence[Sample], seconds: float) -> list[Said]:
        if endpoint.dialect == "native":
            return ask_native(self._client, endpoint.url, samples, seconds, self._expected)
        return ask_dialect(self._client, endpoint.url, endpoint.dialect, samples, seconds)

    def _apart(
        self,
        share: _Share,
        error: Faulty,
        samples: Sequence[Sample],
        tries: Counter[int],
        outcomes: dict[int, Outcome],
    ) -> list[_Share]:
        """The halves of what a service refused as a whole; a single sample is sent again, or has that as its error."""
        if len(share.numbers) > 1:
            return share.halves()
        (number,) = share.numbers
        tries[number] += 1
        if error.final or tries[number] > self._retries:
            outcomes[number] = Outcome(error=f"{self.name}: {samples[number].name}: {error}")
            return []
        self._stopped.wait(_PAUSE * random.uniform(0.5, 1.5))
        return [share]

    def _lost(
        self, share: _Share, error: Unreachable, samples: Sequence[Sample], outcomes: dict[int, Outcome]
    ) -> list[_Share]:
        """What is sent again of samples on which a service failed: if that happens time and again, halves of them, and
        at last all but the one that it fails on."""
        lost = replace(share, lost=share.lost + 1)
        if lost.lost < _MOST_LOST:
            return [lost]
        if len(lost.numbers) > 1:
            return replace(lost, lost=_MOST_LOST - 1).halves()
        (number,) = lost.numbers
        why = f"services failed {_MOST_LOST} times when they were asked about it, at last with {error}"
        outcomes[number] = Outcome(error=f"{self.name}: {samples[number].name}: {why}")
        return []

    def _silent_since(self, began: float) -> float:
        """Seconds without an answer of any endpoint, since a call began at most; 0 while one answers."""
        return time.monotonic() - max(began, self._rotation.alive_at) if self._rotation.down else 0.0

    def _late(self, sample: Sample, began: float) -> Outcome:
        if self._silent_since(began) <= self.patience:
            return Outcome(timed_out=True)
        why = f"no reward service answered for {self.patience:g} s: {self._rotation.troubles()}"
        return Outcome(error=f"{self.name}: {sample.name}: {why}")

    def _named(self, outcome: Outcome) -> Outcome:
        notes = {f"{self.name}.{part}": note for part, note in outcome.notes.items()}
        if outcome.score is None:
            return replace(outcome, error=f"{self.name}: {outcome.error}" if outcome.error else "", notes=notes)
        parts = {f"{self.name}.{part}": value for part, value in outcome.parts.items()}
        return replace(outcome, parts={self.name: outcome.score, **parts}, notes=notes)
