"""From a row to the messages of its prompt."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any

from lightrft_core.types import Message
from lightrft_strategy.data.json_values import json_value
from lightrft_strategy.data.rejected import PromptDataError
from lightrft_strategy.data.rows import Keys


class RowError(ValueError):
    """Why a row cannot be a prompt."""


def check_input_template(template: str) -> None:
    """Raises PromptDataError unless the template is for `str.format` with one `{}`, other braces doubled."""
    try:
        fields = [field for field in Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise PromptDataError(f"--input_template {template!r}: {error}; write {{{{ and }}}} for braces") from error
    if [field[1:] for field in fields] != [("", "", None)]:
        raise PromptDataError(
            f"--input_template {template!r} must hold exactly one {{}}, where the input goes; "
            "write {{ and }} for other braces"
        )


def read_messages(
    content: Mapping[str, Any], keys: Keys, system_prompt: str | None, template: str | None
) -> tuple[Message, ...]:
    """The chat a row asks to continue, every content as plain text.

    A string becomes the user's message. A list of {"role", "content"} is taken as it is, further keys aside; text
    parts of a content are joined. The template is applied to the last message; the system prompt goes first
    unless the row brings its own.
    Raises RowError if the input is missing, empty or of another form.
    """
    if keys.input not in content:
        present = ", ".join(f'"{key}"' for key in content) or "nothing"
        raise RowError(f'has no key "{keys.input}" (it has {present}): set --input_key')
    value = content[keys.input]
    messages = _listed_messages(value) if isinstance(value, list) else (Message("user", _text(value, keys.input)),)
    last = messages[-1]
    if last.role == "assistant":
        raise RowError("ends with a message of the assistant, so there is nothing to answer")
    if not str(last.content).strip():
        raise RowError("has an empty prompt")
    if template is not None:
        messages = (*messages[:-1], Message(last.role, template.format(last.content)))
    if system_prompt and messages[0].role != "system":
        return (Message("system", system_prompt), *messages)
    return messages


def read_label(content: Mapping[str, Any], keys: Keys) -> Any:
    """The label, None without one. Raises RowError if JSON has no form for it."""
    try:
        return json_value(content.get(keys.label))
    except ValueError as error:
        raise RowError(f'its label "{keys.label}" {error}') from error


def read_route(content: Mapping[str, Any], keys: Keys) -> str:
    """The reward route, "" without one. Raises RowError if it is not text."""
    route = content.get(keys.route)
    if route is None:
        return ""
    if not isinstance(route, str):
        raise RowError(f'its route "{keys.route}" is {_kind(route)}, not a string')
    return route


def _text(value: Any, key: str) -> str:
    if isinstance(value, str):
        return value
    raise RowError(f'its input "{key}" is {_kind(value)}, neither a string nor a list of chat messages')


def _listed_messages(items: list[Any]) -> tuple[Message, ...]:
    if not items:
        raise RowError("has an empty prompt: a list of no messages")
    return tuple(_message(number, item) for number, item in enumerate(items, start=1))


def _message(number: int, item: Any) -> Message:
    if not isinstance(item, Mapping):
        raise RowError(f"message {number} is {_kind(item)}, not an object with role and content")
    missing = [key for key in ("role", "content") if key not in item]
    if missing:
        present = ", ".join(f'"{key}"' for key in item) or "nothing"
        raise RowError(f'message {number} has no "{missing[0]}" (it has {present})')
    role, content = item["role"], item["content"]
    if not isinstance(role, str) or not role:
        raise RowError(f"message {number} has a role that is {_kind(role)}, not a name")
    if isinstance(content, list):
        content = "".join(_part_text(number, part) for part in content)
    if not isinstance(content, str):
        raise RowError(f"message {number} has a content that is {_kind(content)}, neither a string nor a list of parts")
    return Message(role, content)


def _part_text(number: int, part: Any) -> str:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise RowError(f'message {number} holds a part that is not an object with a "type"')
    if part["type"] != "text":
        raise RowError(f'message {number} holds a part of type "{part["type"]}": only text parts are read')
    if not isinstance(part.get("text"), str):
        raise RowError(f'message {number} holds a text part whose "text" is {_kind(part.get("text"))}')
    return str(part["text"])


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case "":
            return "empty"
        case Mapping():
            return "an object"
        case _:
            return f"of type {type(value).__name__}"
