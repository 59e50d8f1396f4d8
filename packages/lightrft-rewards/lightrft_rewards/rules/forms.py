"""The form of an answer: a regular expression that it matches, or a JSON schema that it satisfies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lightrft_rewards.errors import LabelError, RewardSetupError
from lightrft_rewards.rules.tags import answer_of, spoken

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_JSON_BLOCK = re.compile(r"^[ \t]*```[ \t]*(?:json|JSON)?[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)


def regex(response: str, label: Any) -> float:
    """1 if the whole response, blanks at its ends aside, matches the label's regular expression, else 0.

    label: {"regex": expression}, or the expression alone. ``(?s)`` at its beginning lets a dot stand for the end of a
    line too. Raises LabelError for any other. Matching can take for ever: run it in a worker, which has a deadline.
    """
    pattern = label.get("regex") if isinstance(label, Mapping) else label
    if not isinstance(pattern, str) or not pattern:
        raise LabelError(f"rule regex needs a regular expression as its label; this label is {label!r:.200}")
    return _matches(response, pattern)


def regex_of(file: str) -> Callable[[str, Any], float]:
    """The rule whose expression stands in a file, the label playing no part. Raises RewardSetupError."""
    pattern = _read(file, "regex").strip()
    try:
        re.compile(pattern)
    except re.error as error:
        raise RewardSetupError(f"rule regex@{file}: its regular expression cannot be read: {error}") from None
    return lambda response, label: _matches(response, pattern)


def json_schema(response: str, label: Any) -> float:
    """1 if the response's JSON satisfies the label's schema (JSON Schema, draft 2020-12 unless it names another).

    The JSON is the last fenced block, or else what stands in <answer>, or else the whole response; thoughts in <think>
    do not count. NaN and infinities are no JSON.
    label: {"json_schema": schema}, or the schema alone, or either as text. Raises LabelError for any other; a schema
    may refer to its own parts, not to other documents.
    """
    try:
        schema = json.loads(label) if isinstance(label, str) else label
    except ValueError:
        schema = None
    if isinstance(schema, Mapping) and "json_schema" in schema:
        schema = schema["json_schema"]
    if not isinstance(schema, Mapping) or not schema:
        raise LabelError(f"rule json_schema needs a JSON schema as its label; this label is {label!r:.200}")
    try:
        validator = _validator(json.dumps(schema))
    except ValueError as error:
        raise LabelError(f"rule json_schema cannot use its label's schema: {error}") from None
    return _satisfies(response, validator)


def json_schema_of(file: str) -> Callable[[str, Any], float]:
    """The rule whose schema stands in a file, the label playing no part. Raises RewardSetupError."""
    try:
        validator = _validator(_read(file, "json_schema"))
    except ValueError as error:
        raise RewardSetupError(f"rule json_schema@{file}: {error}") from None
    return lambda response, label: _satisfies(response, validator)


def prepare_json_schema() -> None:
    """Import the package, so that no sample's deadline pays for it."""
    import jsonschema.validators  # noqa: F401


def last_json(response: str) -> Any:
    """The JSON value of a response. Raises ValueError if it holds none."""
    said = spoken(response)
    blocks = _JSON_BLOCK.findall(said)
    return json.loads(blocks[-1] if blocks else answer_of(said), parse_constant=_no_json)


def _matches(response: str, pattern: str) -> float:
    try:
        return float(re.fullmatch(pattern, response.strip()) is not None)
    except re.error as error:
        raise LabelError(f"rule regex cannot read its label's regular expression: {error}") from None


def _satisfies(response: str, validator: Validator) -> float:
    try:
        return float(validator.is_valid(last_json(response)))
    except (ValueError, RecursionError):
        return 0.0


@lru_cache(maxsize=256)
def _validator(text: str) -> Validator:
    """Of a schema in JSON. Raises ValueError, which says what is wrong with it."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, UnknownType
    from jsonschema.validators import validator_for

    schema = json.loads(text)
    if not isinstance(schema, dict):
        raise ValueError("a schema is an object")
    others = [reference for reference in _references(schema) if not reference.startswith("#")]
    if others:
        raise ValueError(f"it refers to another document, {others[0]!r:.100}: put that document's part into it")
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except (SchemaError, UnknownType) as error:
        raise ValueError(f"it is no JSON schema: {str(error).splitlines()[0]}") from None
    validator: Validator = kind(schema)
    return validator


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _read(file: str, rule: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RewardSetupError(f"rule {rule}@{file}: the file cannot be read: {error}") from None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
