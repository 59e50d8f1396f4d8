"""An LLM as judge: any endpoint that speaks OpenAI's /v1/chat/completions, as a Scorer."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx

from lightrft_rewards.api_key import read_key, without_key
from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.explain import MESSAGE_LIMIT, writable
from lightrft_rewards.judge_prompt import NoGrade, Question
from lightrft_rewards.notes import note_of
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.service.endpoints import Endpoint, Rotation
from lightrft_rewards.service.exchange import problem_with

_CONNECT_SECONDS = 5.0
_MOST_BYTES = 16 << 20
_USUAL_PATIENCE = 1.0
_PATH = "/chat/completions"


class _Again(Exception):
    """The endpoint failed: another, or this one later, may not. after: the seconds it asks for, None if it is not well
    rather than busy."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class _Refused(Exception):
    """The endpoint answers nobody with this key."""


class _Final(Exception):
    """This sample cannot be judged, by whatever endpoint."""


class LLMJudge:
    """Grades each sample by one question to an LLM; for use from one thread at a time, and from any.

    The samples are spread over the endpoints, so many at once. An endpoint that fails (no connection, 5xx, nonsense) or
    asks for patience (429, Retry-After) is left alone for a while, ever longer and with jitter, and what it was asked
    goes to the others, or to it again. A reply without a usable grade is that sample's error.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        model: str,
        question: Question | None = None,
        name: str = "judge",
        temperature: float = 0.0,
        max_tokens: int = 1024,
        timeout: float = 120.0,
        retries: int = 8,
        concurrency: int = 16,
        key_env: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        """Asks nobody yet.

        urls: such as https://api.openai.com/v1 or http://127.0.0.1:8000; all have to serve the model.
        name: what the score is called among an outcome's parts. temperature, max_tokens: of the reply.
        timeout: seconds for a sample from its first request on, all waiting and retries included.
        retries: how often a sample is asked again after an endpoint has failed on it; waiting for a busy one is none.
        concurrency: requests under way at once, at all endpoints together.
        key_env: the environment variable that holds the API key, which appears in no message.
        extra_body: further fields of a request, such as {"chat_template_kwargs": {"enable_thinking": False}}.
        Raises RewardSetupError for URLs that are none and for a variable that is not there, ValueError for numbers out
        of range.
        """
        if not urls or not model:
            raise RewardSetupError("an LLM judge needs a model and a URL, such as http://127.0.0.1:8000")
        for url in urls:
            if problem := problem_with(url):
                raise RewardSetupError(problem)
        if not (timeout > 0 and retries >= 0 and concurrency > 0 and max_tokens > 0 and temperature >= 0):
            raise ValueError(
                "the judge's time-out, concurrency and max_tokens must be above 0, retries and temperature 0 or more"
            )
        self.urls, self.model, self.name, self.timeout = list(urls), model, name, timeout
        self.question = question or Question()
        self._retries = retries
        self._settings = {
            "model": model,
            "temperature": temperature,
            "max_tokens": max_tokens,
            **(extra_body or {}),
        }
        self._key = read_key(key_env)
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.Client(headers=headers, limits=limits, trust_env=False)
        self._rotation = Rotation(self.urls)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="llm-judge")
        self._stopped = threading.Event()

    def score(self, calls: Sequence[Sequence[Sample]]) -> list[list[Outcome]]:
        """One outcome per sample, nested as the calls are: score and accuracy are the grade as 0 to 1. Raises
        RuntimeError after close."""
        if self._stopped.is_set():
            raise RuntimeError("this judge is closed; make a new one")
        try:
            judged = iter(list(self._threads.map(self._judge, [sample for call in calls for sample in call])))
        except BaseException:
            self.close()
            raise
        return [[next(judged) for _ in call] for call in calls]

    def fingerprint(self) -> str:
        """Of the endpoints, the model, the question and how it is asked."""
        content = [sorted(map(address_of, self.urls)), self._settings, asdict(self.question), self.name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def describe(self, sample: Sample) -> str:
        """The model, where it is, how long it has, and the sample."""
        return f"the judge {self.model} at {' or '.join(self.urls)} ({self.timeout:g} s a sample) on {sample.name}"

    def close(self) -> None:
        """Let go of all connections; can be called again."""
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _judge(self, sample: Sample) -> Outcome:
        """What became of one sample."""
        try:
            body = json.dumps({**self._settings, "messages": self.question.messages(sample)}).encode()
        except (ValueError, TypeError, KeyError, ImportError, StopIteration) as error:
            return self._error(sample, f"it cannot be asked about: {type(error).__name__}: {error}")
        deadline, failures = time.monotonic() + self.timeout, 0
        while (left := deadline - time.monotonic()) > 0 and not self._stopped.is_set():
            endpoint = self._rotation.next()
            if endpoint is None:
                return self._error(sample, f"no endpoint can be asked: {self._rotation.troubles()}")
            if not isinstance(endpoint, Endpoint):
                self._stopped.wait(min(endpoint, left))
                continue
            try:
                reply = self._ask(endpoint, body, left)
            except _Again as error:
                failures += error.after is None
                if failures > self._retries:
                    return self._error(sample, f"{failures} endpoints in a row failed; the last: {error}")
            except _Final as error:
                return self._error(sample, str(error))
            except _Refused:
                continue
            else:
                return self._graded(sample, reply)
        return Outcome(timed_out=True)

    def _graded(self, sample: Sample, reply: str) -> Outcome:
        """The reply's grade as a score, and the reply as a note."""
        notes = {self.name: note_of([without_key(reply, self._key)])}
        try:
            score = self.question.score(reply)
        except NoGrade as error:
            return replace(self._error(sample, str(error)), notes=notes)
        return Outcome(score=score, accuracy=score, parts={self.name: score}, notes=notes)

    def _ask(self, endpoint: Endpoint, body: bytes, seconds: float) -> str:
        """What the endpoint's LLM wrote. Raises what the rotation has been told of, too."""
        try:
            reply = _reply(*self._post(endpoint.url, body, seconds))
        except _Again as error:
            if error.after is None:
                self._rotation.failed(endpoint, without_key(str(error), self._key))
            else:
                self._rotation.busy(endpoint, error.after, without_key(str(error), self._key))
            raise
        except _Refused as error:
            self._rotation.refuse(endpoint, without_key(str(error), self._key))
            raise
        except BaseException:
            self._rotation.answered(endpoint)
            raise
        self._rotation.answered(endpoint)
        return reply

    def _post(self, url: str, body: bytes, seconds: float) -> tuple[httpx.Response, bytes]:
        """The response and its whole content, however slowly it drips in. Raises _Again, also when time is up."""
        deadline = time.monotonic() + seconds
        timeout = httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds))
        content = bytearray()
        try:
            with self._client.stream("POST", address_of(url), content=body, timeout=timeout) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > deadline or len(content) > _MOST_BYTES:
                        raise _Again("its reply takes too long, or is too long")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _Again(f"{type(error).__name__}: {error}".removesuffix(": ")) from error
        return response, bytes(content)

    def _error(self, sample: Sample, why: str) -> Outcome:
        return Outcome(error=writable(f"{self.name}: {sample.name}: {without_key(why, self._key)}"))


def address_of(url: str) -> str:
    """Where chats are completed, of a URL that may or may not end in /v1 or name the path."""
    base = url.rstrip("/").removesuffix(_PATH)
    return f"{base}{_PATH}" if base.endswith("/v1") else f"{base}/v1{_PATH}"


def _reply(response: httpx.Response, content: bytes) -> str:
    """What the LLM wrote. Raises _Again, _Refused or _Final for any other answer."""
    code = response.status_code
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        parsed = None
    if code in (401, 403):
        raise _Refused(_told(code, parsed))
    if code in (408, 409, 425, 429) or code >= 500:
        asked = response.headers.get("retry-after")
        raise _Again(_told(code, parsed), _patience(asked) if asked or code == 429 else None)
    if code != 200:
        raise _Final(_told(code, parsed))
    try:
        choice = parsed["choices"][0]
        text = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise _Again("its answer is no chat completion") from None
    cut = choice.get("finish_reason") == "length"
    if not isinstance(text, str) or not text.strip():
        raise _Final("it said nothing" + (": its reply was cut off; raise max_tokens" if cut else ""))
    return text


def _told(code: int, parsed: Any) -> str:
    """A refusal in a line, in the endpoint's own words where there are any."""
    error = parsed.get("error", parsed.get("detail", "")) if isinstance(parsed, dict) else ""
    words = error.get("message", "") if isinstance(error, dict) else error
    return f"HTTP {code}: {' '.join(str(words).split())[:MESSAGE_LIMIT]}".removesuffix(": ")


def _patience(asked: str | None) -> float:
    """Seconds from now, of a Retry-After in seconds or as a date."""
    try:
        seconds = float(asked) if asked is not None else _USUAL_PATIENCE
    except ValueError:
        try:
            seconds = parsedate_to_datetime(asked or "").timestamp() - time.time()
        except (TypeError, ValueError):
            seconds = _USUAL_PATIENCE
    return max(0.0, seconds) if math.isfinite(seconds) else _USUAL_PATIENCE
