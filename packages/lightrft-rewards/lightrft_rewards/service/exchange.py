"""One request to one endpoint, and what came of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from lightrft_rewards.errors import CallError
from lightrft_rewards.explain import MESSAGE_LIMIT
from lightrft_rewards.function_result import read_result
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.service.dialects import DIALECTS
from lightrft_rewards.service.media import sent_media
from lightrft_rewards.service.schema import SERVICE, STATUSES, VERSION

CONNECT_SECONDS = 5.0
AFTER_DEADLINE = 2.0
"""Seconds beyond the deadline that an answer may take to arrive."""

_OWN_PATHS = ("/v1/score", "/get_reward")


class Unreachable(Exception):
    """No answer, or nonsense, or nobody who judges behind a gateway: the endpoint's fault."""


class Absent(Unreachable):
    """Nobody judges behind a gateway just now, whatever is sent."""


class Busy(Exception):
    """The endpoint asks for patience. after: seconds."""

    def __init__(self, why: str, after: float) -> None:
        super().__init__(why)
        self.after = after


class Refused(Exception):
    """The endpoint will not judge for this client, whatever is sent."""


class Faulty(Exception):
    """The endpoint answered that this request cannot be judged. final: and that it never will be."""

    def __init__(self, why: str, *, final: bool) -> None:
        super().__init__(why)
        self.final = final


@dataclass(frozen=True)
class Health:
    """What an endpoint says of itself. native: whether it speaks our schema. fingerprint: of its reward."""

    native: bool
    fingerprint: str = ""


@dataclass(frozen=True)
class Said:
    """What a service said of one sample. again: whether it may say otherwise when asked once more."""

    outcome: Outcome
    again: bool = False


def base_of(url: str) -> str:
    """Where /health and /v1/score are, of a URL that may name one of the service's paths."""
    stripped = url.rstrip("/")
    for path in _OWN_PATHS:
        stripped = stripped.removesuffix(path)
    return stripped


def problem_with(url: str) -> str:
    """What is wrong with an endpoint's URL; "" if nothing is."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return f"{url!r} is no URL of a service: write http://HOST:PORT"
    if parts.username or parts.password:
        return f"the URL of the service at {parts.hostname} holds a password: leave it out, and take a token instead"
    return "" if usable else f"{url!r} is no URL of a service: write http://HOST:PORT"


def ask_health(client: httpx.Client, url: str) -> Health:
    """Whether the endpoint is one of ours, and by what it judges; somebody else's need not know the path.

    Raises Refused for a wrong token, Unreachable also while it loads or ends.
    """
    response = _sent(client, "GET", f"{base_of(url)}/health", None, CONNECT_SECONDS)
    content = _content(response)
    if content.get("service") != SERVICE:
        if response.status_code >= 500:
            raise Unreachable(_told(response))
        return Health(native=False)
    if content.get("version") != VERSION:
        raise Refused(f"it speaks version {content.get('version')!r:.20} of the schema, not {VERSION}")
    if content.get("status") != "ready":
        raise Unreachable(f"it is {content.get('status')!r:.20}")
    if "fingerprint" not in content:
        raise Refused("it asks for a token, which is not the one sent")
    return Health(native=True, fingerprint=str(content["fingerprint"]))


def ask_native(
    client: httpx.Client, url: str, samples: Sequence[Sample], seconds: float, fingerprint: str
) -> list[Said]:
    """What a service of ours says of each sample within so many seconds.

    fingerprint: of the reward that is expected there. Raises Unreachable, Busy, Refused (another reward judges there),
    Faulty.
    """
    body = {
        "version": VERSION,
        "deadline": seconds,
        "samples": [_to_wire(str(place), sample) for place, sample in enumerate(samples)],
    }
    response = _sent(client, "POST", f"{base_of(url)}/v1/score", body, seconds + AFTER_DEADLINE)
    _require_answer(response)
    content = _content(response)
    results = content.get("results")
    if content.get("version") != VERSION or not isinstance(results, list):
        raise Unreachable("its answer is none of version 1")
    if fingerprint and content.get("fingerprint") != fingerprint:
        raise Refused("it judges by another reward than it, or the other endpoints, did when this run began")
    if [result.get("id") if isinstance(result, dict) else None for result in results] != [
        str(place) for place in range(len(samples))
    ]:
        raise Unreachable("its answer is not about the samples that were sent")
    return [_said(result) for result in results]


def ask_dialect(client: httpx.Client, url: str, name: str, samples: Sequence[Sample], seconds: float) -> list[Said]:
    """What a service that speaks another's dialect says. Raises as ask_native does."""
    try:
        body = DIALECTS[name].body(samples)
    except ValueError as error:
        raise Faulty(str(error), final=True) from error
    response = _sent(client, "POST", url, body, seconds + AFTER_DEADLINE)
    _require_answer(response)
    try:
        return [Said(outcome, again=outcome.score is None) for outcome in read_result(_content(response), len(samples))]
    except CallError as error:
        raise Unreachable(f"its answer cannot be used: {error}") from error


def _to_wire(own_id: str, sample: Sample) -> dict[str, Any]:
    wire: dict[str, Any] = {"id": own_id, "name": sample.name, "prompt": sample.prompt, "response": sample.response}
    if sample.label is not None:
        wire["label"] = sample.label
    if sample.route:
        wire["route"] = sample.route
    if sample.messages:
        wire["messages"] = [dict(message) for message in sample.messages]
    if sample.media:
        wire["media"] = sent_media(sample)
    return wire


def _sent(
    client: httpx.Client, method: str, url: str, body: Mapping[str, Any] | None, seconds: float
) -> httpx.Response:
    timeout = httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
    try:
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Faulty(f"it cannot be sent: {error}; its label must be plain JSON", final=True) from error
    headers = {"content-type": "application/json"} if content is not None else {}
    try:
        return client.request(method, url, content=content, headers=headers, timeout=timeout)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(f"{type(error).__name__}: {error}".removesuffix(": ")) from error


def _require_answer(response: httpx.Response) -> None:
    code = response.status_code
    if code == 200:
        return
    content = _content(response)
    patient = code == 429 or (code == 503 and ("retry_after" in content or "retry-after" in response.headers))
    if patient and content.get("status", "ready") == "ready":
        raise Busy(_told(response), _patience(response))
    if code in (401, 403):
        raise Refused(_told(response))
    if code == 503:
        raise Absent(_told(response))
    if code in (404, 405, 502, 504):
        raise Unreachable(_told(response))
    raise Faulty(_told(response), final=code in (400, 413, 415, 422))


def _patience(response: httpx.Response) -> float:
    """Seconds that a busy service asks for."""
    said = _content(response).get("retry_after", response.headers.get("retry-after"))
    try:
        seconds = float(said) if said is not None else 1.0
    except (TypeError, ValueError):
        seconds = 1.0
    return seconds if math.isfinite(seconds) and seconds >= 0 else 1.0


def _content(response: httpx.Response) -> dict[str, Any]:
    """The object that was answered; an empty one for anything else."""
    try:
        content = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _told(response: httpx.Response) -> str:
    """A refusal in a line, in the service's own words where there are any."""
    content = _content(response)
    words = content.get("error") or content.get("detail") or ""
    return f"HTTP {response.status_code}: {' '.join(str(words).split())[:MESSAGE_LIMIT]}".removesuffix(": ")


def _said(result: Mapping[str, Any]) -> Said:
    """Raises Unreachable for a result that is none."""
    status, error = result.get("status"), str(result.get("error", ""))
    if status not in STATUSES:
        raise Unreachable(f"its answer has a sample of status {status!r:.20}")
    try:
        notes = {str(part): str(note) for part, note in (result.get("notes") or {}).items()}
    except AttributeError as problem:
        raise Unreachable("its answer has notes that are no object") from problem
    if status == "timeout":
        return Said(Outcome(timed_out=True, notes=notes))
    if status != "ok":
        return Said(Outcome(error=error or "it could not be judged", notes=notes), again=status == "error")
    try:
        score = _number(result["score"])
        accuracy = None if result.get("accuracy") is None else _number(result["accuracy"])
        parts, metrics = (
            {str(name): _number(value) for name, value in (result.get(key) or {}).items()}
            for key in ("parts", "metrics")
        )
        steps = tuple((int(end), _number(reward)) for end, reward in result.get("steps") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise Unreachable("its answer has a score that is no number") from problem
    return Said(Outcome(score=score, accuracy=accuracy, parts=parts, metrics=metrics, steps=steps, notes=notes))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)
