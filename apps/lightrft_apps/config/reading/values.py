"""From what somebody wrote to a value of the field's type; jsonargparse knows the types."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.schema import INSTEAD, NEEDED, Field, fields_of, offered_by_others
from lightrft_apps.config.reading.text import expectation, help_line, metavar


@dataclass(frozen=True)
class Given:
    """A value somebody gave.

    written: as it stood there, for messages: `--seed x`, `recipe.yaml: seed: x`.
    from_command_line: value is the text of a flag, not yet a number or a list.
    opposite: it is the opposite, true or false, of what the field gets.
    """

    name: str
    value: Any
    written: str
    from_command_line: bool = False
    opposite: bool = False


def parser_of(fields: Mapping[str, Field], **settings: Any) -> ArgumentParser:
    """A parser that knows every field as a flag, grouped by section. settings: argparse's own."""
    parser = ArgumentParser(
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **settings,
    )
    titles = dict.fromkeys(field.title for field in fields.values())
    groups = {title: parser.add_argument_group(title) for title in titles}
    for field in fields.values():
        text = help_line(field).replace("%", "%%")
        groups[field.title].add_argument(f"--{field.name}", type=field.type, metavar=metavar(field), help=text)
    return parser


@cache
def _value_parser(config_type: type) -> ArgumentParser:
    return parser_of(fields_of(config_type))


def resolve(config_type: type, given: Sequence[Given]) -> dict[str, Any]:
    """All values by name: the last given of each, else the field's default; None where one is needed.

    Raises ConfigError with every value that does not fit its field.
    """
    fields = fields_of(config_type)
    flat = {name: None if field.default is NEEDED else field.default for name, field in fields.items()}
    problems = []
    for entry in given:
        try:
            value = _convert(_value_parser(config_type), fields[entry.name], entry)
            flat[entry.name] = not value if entry.opposite else value
        except ArgumentError:
            told = f"--{entry.name} {INSTEAD[entry.name]}" if entry.name in INSTEAD else None
            problems.append(told or f"{entry.written}: expected {expectation(fields[entry.name])}")
    if problems:
        raise ConfigError(problems)
    return flat


def _convert(parser: ArgumentParser, field: Field, entry: Given) -> Any:
    value = os.fspath(entry.value) if isinstance(entry.value, os.PathLike) else entry.value
    null = value is None or (entry.from_command_line and value == "null" and field.optional)
    if null and (field.optional or field.default is NEEDED):
        return None
    if null:
        raise ArgumentError(None, "null")
    if isinstance(value, str) and value in offered_by_others(field):
        return value
    if entry.from_command_line:
        return parser.parse_args([f"--{field.name}={value}"], defaults=False)[field.name]
    converted = parser.parse_object({field.name: value}, defaults=False)[field.name]
    if isinstance(converted, dict) and not all(isinstance(key, str) for key in converted):
        raise ArgumentError(None, "keys that are not text")
    return converted
