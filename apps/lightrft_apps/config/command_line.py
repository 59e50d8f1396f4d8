"""From the words after a command to names and texts. Only names are checked here, not values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args, get_origin

from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.schema import ALIASES, Field, unknown
from lightrft_apps.config.values import Given

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
        name = ALIASES.get(name, name)
        if name.startswith("no-"):
            name = "no-" + ALIASES.get(name[3:], name[3:])
        following = next((index for index, word in enumerate(words) if FLAG.match(word)), len(words))
        least, most = _arity(name, fields)
        taken = 0 if equals else min(most or 1, following)
        values, words = [value] if equals else words[:taken], words[taken:]
        if name not in {*fields, *_negations(fields), "config", "print_config"}:
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


def _negations(fields: Mapping[str, Field]) -> dict[str, str]:
    """no-bf16 -> bf16, for every flag that is true or false."""
    return {f"no-{name}": name for name, flag in fields.items() if flag.type is bool}


def _arity(name: str, fields: Mapping[str, Field]) -> tuple[int, int]:
    """The least and the most values a flag takes."""
    if name == "print_config" or name in _negations(fields):
        return 0, 0
    if name in fields and fields[name].type is bool:
        return 0, 1
    if name in fields and get_origin(fields[name].type) is tuple:
        return 1, len(get_args(fields[name].type))
    return 1, 1


def _note(line: CommandLine, name: str, values: list[str], fields: Mapping[str, Field]) -> None:
    if name == "print_config":
        line.print_config = True
    elif name == "config":
        line.config_files += values
    elif name in fields:
        written = " ".join([f"--{name}", *values])
        line.given.append(Given(name, _text(fields[name], values), written, from_command_line=True))
    else:
        line.given.append(Given(_negations(fields)[name], "false", f"--{name}", from_command_line=True))


def _text(flag: Field, values: list[str]) -> str:
    if get_origin(flag.type) is tuple:
        return "[" + ",".join(re.split(r"[,\s]+", " ".join(values).strip("[]() "))) + "]"
    return values[0] if values else "true"
