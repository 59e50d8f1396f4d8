"""Rules that take an argument: ``NAME@ARGUMENT``, such as target_length@100-300 or json_schema@answer.json."""

from __future__ import annotations

from pathlib import Path

MARK = "@"
_FILES = ("regex", "json_schema")


def split_name(name: str) -> tuple[str, str]:
    """The rule's own name and its argument, "" without one."""
    own, _, argument = name.partition(MARK)
    return own, argument


def argument_file(name: str) -> Path | None:
    """The file that decides what the rule pays, if its argument is one."""
    own, argument = split_name(name)
    return Path(argument).expanduser() if argument and own in _FILES else None
