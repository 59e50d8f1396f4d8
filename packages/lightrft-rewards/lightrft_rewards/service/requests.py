"""From a request's bytes to what is asked, or to a sentence that names what is wrong with them.

Reads exactly what REQUEST_SCHEMA allows and ids that are not repeated; by hand, because a validator of schemas takes
thirty times as long as all else that is done with a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn
from uuid import uuid4

from lightrft_rewards.samples import Sample
from lightrft_rewards.service.schema import (
    LONGEST_ID,
    MODALITIES,
    MOST_SAMPLES,
    MOST_SECONDS,
    VERSION,
    Asked,
    ScoreRequest,
)

_REQUEST = {"version", "request_id", "deadline", "samples"}
_SAMPLE = {"id", "response", "prompt", "messages", "label", "route", "name", "media"}
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


class BadRequest(ValueError):
    """A request that cannot be read; the message says where and why, and shows nothing of its texts."""


def read_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises BadRequest for anything else, NaN and infinities included."""
    try:
        content = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start} cannot be read") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply to be read") from None
    except ValueError as error:
        raise BadRequest(str(error) if isinstance(error, BadRequest) else "the body has a number too long") from None
    return _mapping(content, "the body")


def read_request(content: Mapping[str, Any]) -> ScoreRequest:
    """What REQUEST_SCHEMA describes. Raises BadRequest."""
    if "version" not in content:
        raise BadRequest(f"version is missing: send {VERSION}")
    if isinstance(content["version"], bool) or content["version"] != VERSION:
        raise BadRequest(f"version {content['version']!r:.40} is not spoken here: send {VERSION}")
    _only(content, _REQUEST, "the request")
    samples = _list(content, "samples", "samples")
    if not 1 <= len(samples) <= MOST_SAMPLES:
        raise BadRequest(f"samples: send 1 to {MOST_SAMPLES} samples, not {len(samples)}")
    asked = tuple(_asked(sample, f"samples[{place}]") for place, sample in enumerate(samples))
    seen: dict[str, int] = {}
    for place, one in enumerate(asked):
        if seen.setdefault(one.id, place) != place:
            raise BadRequest(f"samples[{place}].id is that of samples[{seen[one.id]}] too: give each its own")
    request_id = _id(content, "request_id", "request_id") if "request_id" in content else uuid4().hex
    return ScoreRequest(request_id, asked, read_deadline(content))


def read_deadline(content: Mapping[str, Any]) -> float | None:
    """Its seconds, None if it names none. Raises BadRequest."""
    if "deadline" not in content:
        return None
    seconds = content["deadline"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MOST_SECONDS:
        raise BadRequest(f"deadline: send seconds above 0 and up to {MOST_SECONDS:g}")
    return float(seconds)


def texts(content: Mapping[str, Any], key: str, where: str) -> list[str]:
    """A list of texts. Raises BadRequest."""
    given = _list(content, key, where)
    for place, text in enumerate(given):
        if not isinstance(text, str):
            raise BadRequest(f"{where}[{place}]: a text is expected, not {_kind(text)}")
    return given


def _asked(content: Any, where: str) -> Asked:
    sample = _mapping(content, where)
    _only(sample, _SAMPLE, where)
    if "response" not in sample:
        raise BadRequest(f"{where}.response is missing")
    own_id = _id(sample, "id", f"{where}.id")
    media = _list(sample, "media", f"{where}.media") if "media" in sample else []
    for place, medium in enumerate(media):
        if _mapping(medium, f"{where}.media[{place}]").get("modality") not in MODALITIES:
            raise BadRequest(f"{where}.media[{place}].modality: send one of {', '.join(MODALITIES)}")
    messages = _list(sample, "messages", f"{where}.messages") if "messages" in sample else []
    for place, message in enumerate(messages):
        _check_message(message, f"{where}.messages[{place}]")
    return Asked(
        own_id,
        Sample(
            response=_text(sample, "response", where),
            label=sample.get("label"),
            prompt=_text(sample, "prompt", where),
            route=_text(sample, "route", where),
            name=_text(sample, "name", where) or f"sample {own_id}",
            messages=tuple(messages),
        ),
        tuple(media),
    )


def _check_message(message: Any, where: str) -> None:
    for key in ("role", "content"):
        if key not in _mapping(message, where):
            raise BadRequest(f"{where}.{key} is missing")
    _text(message, "role", where)
    content = message["content"]
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise BadRequest(f"{where}.content: a text or a list of parts is expected, not {_kind(content)}")
    for place, part in enumerate(content):
        here = f"{where}.content[{place}]"
        kind = _mapping(part, here).get("type")
        if kind not in ("text", *MODALITIES):
            raise BadRequest(f"{here}.type: send one of text, {', '.join(MODALITIES)}")
        if kind == "text" and "text" not in part:
            raise BadRequest(f"{here}.text is missing")
        _text(part, "text", here)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{where}: an object is expected, not {_kind(value)}")
    return value


def _list(content: Mapping[str, Any], key: str, where: str) -> list[Any]:
    if key not in content:
        raise BadRequest(f"{where} is missing")
    value = content[key]
    if not isinstance(value, list):
        raise BadRequest(f"{where}: a list is expected, not {_kind(value)}")
    return value


def _text(content: Mapping[str, Any], key: str, where: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise BadRequest(f"{where}.{key}: a text is expected, not {_kind(value)}")
    return value


def _id(content: Mapping[str, Any], key: str, where: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_ID:
        raise BadRequest(f"{where}: a text of 1 to {LONGEST_ID} characters is expected")
    return value


def _only(content: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise BadRequest(f"{where} has an unknown field {key!r:.60}: send {', '.join(sorted(known))}")


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a number")


def _no_number(name: str) -> NoReturn:
    raise BadRequest(f"the body has {name}, which is not JSON")
