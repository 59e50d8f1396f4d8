"""How values and their types are written for people."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from lightrft_apps.config.reading.schema import NEEDED, Field, is_variadic, offered_by_others


def as_text(value: Any) -> str:
    """A value as one would write it on a line, for reading."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{as_text(key)}: {as_text(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return " ".join(as_text(item) for item in value)
    return str(value)


def expectation(field: Field) -> str:
    """What kind of value a field takes, to finish the sentence "expected ..."."""
    if get_origin(field.type) is Literal:
        return "one of " + ", ".join([*map(str, get_args(field.type)), *offered_by_others(field)])
    if is_variadic(field.type):
        return "whole numbers, such as 5 7"
    if get_origin(field.type) is tuple:
        return f"{len(get_args(field.type))} numbers, such as {as_text(field.default or (0.2, 0.3))}"
    if field.type == dict[str, float]:
        return 'names (in quotes) with a number each, such as {"5": -100}'
    if get_origin(field.type) is dict:
        return 'names with a text each, such as {"math": "number:1.0"}'
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text (in quotes)"}[field.type]


def metavar(field: Field) -> str:
    """What stands for a field's value in help."""
    if get_origin(field.type) is Literal:
        return "{" + ",".join(map(str, get_args(field.type))) + "}"
    if is_variadic(field.type):
        return "N [N ...]"
    if get_origin(field.type) is tuple:
        return " ".join("X" for _ in get_args(field.type))
    if get_origin(field.type) is dict:
        return "JSON"
    return {bool: "[true|false]", int: "N", float: "X", str: "TEXT"}[field.type]


def help_line(field: Field) -> str:
    """A field's documentation and its default."""
    if field.default is NEEDED:
        return f"{field.doc} (needed)"
    return field.doc if field.default in (None, "") else f"{field.doc} (default: {as_text(field.default)})"
