"""Requests and answers of the reward service, version 1: what they hold, and the JSON Schema of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lightrft_rewards.samples import Outcome, Sample

VERSION = 1
SERVICE = "lightrft-rewards"
"""What /health calls the service, by which clients know it."""

MOST_SAMPLES = 1024
"""In one request."""

MOST_SECONDS = 86_400.0
"""A deadline may be no further away."""

LONGEST_ID = 200

MODALITIES = ("image", "video", "audio")
Status: TypeAlias = Literal["ok", "error", "timeout", "rejected"]
STATUSES: tuple[Status, ...] = ("ok", "error", "timeout", "rejected")
"""Judged; judging failed; not judged before its deadline; cannot be judged here, however often it is sent."""


@dataclass(frozen=True)
class Asked:
    """One sample of a request. media: as they were sent, not read yet."""

    id: str
    sample: Sample
    media: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class ScoreRequest:
    """What a client asks. deadline: seconds from its arrival for each sample; None for the server's own."""

    request_id: str
    asked: tuple[Asked, ...]
    deadline: float | None = None


@dataclass(frozen=True)
class Result:
    """What became of one sample. error: why it has no score; "" for status ok."""

    id: str
    status: Status
    outcome: Outcome
    error: str = ""


def result_of(asked: Asked, outcome: Outcome) -> Result:
    """A judged sample's outcome with its status."""
    if outcome.timed_out:
        return Result(asked.id, "timeout", outcome, outcome.error or f"{asked.sample.name}: not judged in time")
    if outcome.score is None:
        return Result(asked.id, "error", outcome, outcome.error)
    return Result(asked.id, "ok", outcome)


def rejection(asked: Asked, why: str) -> Result:
    """A sample that cannot be judged here, and what to do about it."""
    return Result(asked.id, "rejected", Outcome(error=why), why)


def answer(request_id: str, fingerprint: str, results: list[Result]) -> dict[str, Any]:
    """The answer's JSON; it fits ANSWER_SCHEMA. fingerprint: of the reward that judged."""
    return {
        "version": VERSION,
        "request_id": request_id,
        "fingerprint": fingerprint,
        "results": [
            {
                "id": result.id,
                "status": result.status,
                "score": result.outcome.score,
                "accuracy": result.outcome.accuracy,
                "parts": dict(result.outcome.parts),
                "metrics": dict(result.outcome.metrics),
                "steps": [list(step) for step in result.outcome.steps],
                "notes": dict(result.outcome.notes),
                "error": result.error,
            }
            for result in results
        ],
    }


def _object(required: list[str], properties: dict[str, Any], *, more: bool = False) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": more}


_TEXT = {"type": "string"}
_ID = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}
_PART = {
    "type": "object",
    "required": ["type"],
    "properties": {"type": {"enum": ["text", *MODALITIES]}, "text": _TEXT},
    "if": {"properties": {"type": {"const": "text"}}},
    "then": {"required": ["text"]},
}
_MESSAGE = _object(
    ["role", "content"],
    {"role": _TEXT, "content": {"anyOf": [_TEXT, {"type": "array", "items": _PART}]}},
    more=True,
)
_SAMPLE = _object(
    ["id", "response"],
    {
        "id": _ID,
        "response": _TEXT,
        "prompt": _TEXT,
        "messages": {"type": "array", "items": _MESSAGE},
        "label": {},
        "route": _TEXT,
        "name": _TEXT,
        "media": {"type": "array", "items": _object(["modality"], {"modality": {"enum": list(MODALITIES)}}, more=True)},
    },
)
_STEP = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "number"}], "minItems": 2, "maxItems": 2}
_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}

REQUEST_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "What a client asks of a reward service",
    **_object(
        ["version", "samples"],
        {
            "version": {"const": VERSION},
            "request_id": _ID,
            "deadline": {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_SECONDS},
            "samples": {"type": "array", "minItems": 1, "maxItems": MOST_SAMPLES, "items": _SAMPLE},
        },
    ),
}

ANSWER_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "What a reward service answers: a result for each sample, in order",
    **_object(
        ["version", "request_id", "fingerprint", "results"],
        {
            "version": {"const": VERSION},
            "request_id": _ID,
            "fingerprint": _TEXT,
            "results": {
                "type": "array",
                "items": {
                    **_object(
                        ["id", "status", "score", "accuracy", "parts", "metrics", "steps", "notes", "error"],
                        {
                            "id": _ID,
                            "status": {"enum": list(STATUSES)},
                            "score": {"type": ["number", "null"]},
                            "accuracy": {"type": ["number", "null"]},
                            "parts": _NUMBERS,
                            "metrics": _NUMBERS,
                            "steps": {"type": "array", "items": _STEP},
                            "notes": {"type": "object", "additionalProperties": _TEXT},
                            "error": _TEXT,
                        },
                    ),
                    "if": {"properties": {"status": {"const": "ok"}}},
                    "then": {"properties": {"score": {"type": "number"}, "error": {"const": ""}}},
                    "else": {"properties": {"score": {"type": "null"}, "error": {"minLength": 1}}},
                },
            },
        },
    ),
}
