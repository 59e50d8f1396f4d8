"""From a row to the messages of its prompt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from string import Formatter
from typing import Any

from lightrft_strategy.data.json_values import json_value
from lightrft_strategy.data.parts import Piece, Turn, described, joined, keys_of, read_part
from lightrft_strategy.data.placing import listed_media, place_media
from lightrft_strategy.data.rejected import PromptDataError, RowError
from lightrft_strategy.data.rows import Keys


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


def read_prompt(
    content: Mapping[str, Any],
    keys: Keys,
    system_prompt: str | None,
    template: str | None,
    modalities: Collection[str] = (),
) -> list[Turn]:
    """The chat a row asks to continue, with its media in their places.

    A string becomes the user's message. A list of {"role", "content"} is taken as it is, further keys aside. The
    template is applied to the last message; the system prompt goes first unless the row brings its own.
    modalities: what the model reads besides text.
    Raises RowError if the input is missing, empty or of another form, or if its media find no place.
    """
    turns, listed = read_turns(content, keys), listed_media(content, keys)
    last = turns[-1]
    if last.role == "assistant":
        raise RowError("ends with a message of the assistant, so there is nothing to answer")
    if not (last.text.strip() or last.media or any(each.media for each in listed.values())):
        raise RowError("has an empty prompt")
    if template is not None:
        turns[-1] = replace(last, pieces=_written_around(last.pieces, template))
    turns = place_media(turns, listed, modalities)
    if system_prompt and turns[0].role != "system":
        turns.insert(0, Turn("system", (system_prompt,)))
    return turns


def read_turns(content: Mapping[str, Any], keys: Keys) -> list[Turn]:
    """The messages under the key for the input. Raises RowError if it is missing or of another form."""
    if keys.input not in content:
        raise RowError(f'has no key "{keys.input}" (it has {keys_of(content)}): set --input_key')
    value = content[keys.input]
    if isinstance(value, list):
        if not value:
            raise RowError("has an empty prompt: a list of no messages")
        return [_turn(f"message {number}", item) for number, item in enumerate(value, start=1)]
    if isinstance(value, str):
        return [Turn("user", (value,))]
    raise RowError(f'its input "{keys.input}" is {described(value)}, neither a string nor a list of chat messages')


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
        raise RowError(f'its route "{keys.route}" is {described(route)}, not a string')
    return route


def _turn(place: str, item: Any) -> Turn:
    if not isinstance(item, Mapping):
        raise RowError(f"{place} is {described(item)}, not an object with role and content")
    missing = [key for key in ("role", "content") if key not in item]
    if missing:
        raise RowError(f'{place} has no "{missing[0]}" (it has {keys_of(item)})')
    role, content = item["role"], item["content"]
    if not isinstance(role, str) or not role:
        raise RowError(f"{place} has a role that is {described(role)}, not a name")
    if isinstance(content, list):
        return Turn(role, joined(tuple(read_part(part, place) for part in content)))
    if not isinstance(content, str):
        raise RowError(f"{place} has a content that is {described(content)}, neither a string nor a list of parts")
    return Turn(role, (content,))


def _written_around(pieces: tuple[Piece, ...], template: str) -> tuple[Piece, ...]:
    """The template with the pieces in its place."""
    parsed = list(Formatter().parse(template))
    texts = [text for text, *_ in parsed]
    end = 1 + [field for _, field, *_ in parsed].index("")
    return joined(("".join(texts[:end]), *pieces, "".join(texts[end:])))
