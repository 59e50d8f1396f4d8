"""From the words after a command to names and texts. Only names are checked here, not values."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args, get_origin

from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.schema import Field, is_variadic, meant, unknown
from lightrft_apps.config.reading.values import Given

FLAG = re.compile(r"--(?=[A-Za-z])")
"""How a word begins that is a flag: -1e-6 and "-- so --" are values."""


@dataclass
class CommandLine:
    """What the words ask for. config_files and given are in the order they stood in; later ones win."""

    help: bool = False
    print_config: bool = False
    config_files: list[str] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)


def read_command_line(argv: Sequence[str], fields: Mapping[str, Field]) -> CommandLine:
    """Split words such as `--seed 1 --bf16 --no-progress --config run.yaml` by flag.

    Raises ConfigError for unknown flags, flags without their value and words that belong to no flag.
    """
    if "--help" in argv or "-h" in argv:
        return CommandLine(help=True)
    line, problems, words = CommandLine(), [], list(argv)
    while words:
        word = words.pop(0)
        if not FLAG.match(word):
            problems.append(f"unexpected {word!r}: every value follows its --flag")
            continue
        name, equals, value = word[2:].partition("=")
        following = next((index for index, word in enumerate(words) if FLAG.match(word)), len(words))
        least, most = _arity(name, fields)
        taken = 0 if equals else min(most or 1, following)
        values, words = [value] if equals else words[:taken], words[taken:]
        if _field(name, fields) is None and name not in ("config", "print_config"):
            problems.append("unknown flag " + unknown(name, [*fields, "config", "print_config"], prefix="--"))
        elif len(values) < least:
            problems.append(f"--{name} needs a value")
        elif len(values) > most:
            problems.append(f"--{name} takes no value: remove {values[0]!r}")
        else:
            _note(line, name, values, fields)
    if problems:
        raise ConfigError(problems)
    return line


def _field(name: str, fields: Mapping[str, Field]) -> Field | None:
    """The field a flag is about; those that are true or false may stand behind no-."""
    flag = fields.get(meant(name.removeprefix("no-")).name)
    return flag if flag is None or flag.type is bool or not name.startswith("no-") else None


def _arity(name: str, fields: Mapping[str, Field]) -> tuple[int, int]:
    """The least and the most values a flag takes."""
    flag = _field(name, fields)
    if name == "print_config" or (flag is not None and name.startswith("no-")):
        return 0, 0
    if flag is not None and flag.type is bool:
        return 0, 1
    if flag is not None and get_origin(flag.type) is tuple:
        return 1, sys.maxsize if is_variadic(flag.type) else len(get_args(flag.type))
    return 1, 1


def _note(line: CommandLine, name: str, values: list[str], fields: Mapping[str, Field]) -> None:
    flag = _field(name, fields)
    if name == "print_config":
        line.print_config = True
    elif flag is None:
        line.config_files += values
    else:
        text = "false" if name.startswith("no-") else _text(flag, values)
        written = " ".join([f"--{name}", *values])
        opposite = meant(name.removeprefix("no-")).opposite
        line.given.append(Given(flag.name, text, written, from_command_line=True, opposite=opposite))


def _text(flag: Field, values: list[str]) -> str:
    if get_origin(flag.type) is tuple and values != ["null"]:
        return "[" + ",".join(re.split(r"[,\s]+", " ".join(values).strip("[]() "))) + "]"
    return values[0] if values else "true"
