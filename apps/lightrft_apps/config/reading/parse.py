"""A command's words to its configuration; what is asked for or wrong goes to the terminal, and the program ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.command_line import read_command_line
from lightrft_apps.config.reading.files import read_config_file, yaml_of
from lightrft_apps.config.reading.flat import from_given, given_in_python
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.config.reading.values import parser_of, resolve

Config = TypeVar("Config")

NOTES = """\
  --config FILE.yaml    read values from a file, named as the flags are; flags given here win over it
  --print_config        print the complete configuration as such a file, and stop
  A flag that is true or false may stand alone (--bf16) or be negated (--no-bf16).
  null is no value, where a default or a file has one (--flag null)."""


def parse(
    config_type: type[Config],
    argv: Sequence[str],
    *,
    prog: str,
    about: str,
    defaults: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration a command line asks for: flags win over --config files, files over `defaults`.

    about: what the command does, then example commands. Raises ConfigError, or SystemExit after --help and
    --print_config.
    """
    return parse_with_given(config_type, argv, prog=prog, about=about, defaults=defaults)[0]


def parse_with_given(
    config_type: type[Config],
    argv: Sequence[str],
    *,
    prog: str,
    about: str,
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Config, frozenset[str]]:
    """What `parse` gives, and the names of the fields that flags and files give a value, be it their default."""
    defaults = defaults or {}
    line = read_command_line(argv, fields_of(config_type))
    if line.help:
        sys.stdout.write(help_text(config_type, prog=prog, about=about, defaults=defaults))
        raise SystemExit(0)
    given = given_in_python(config_type, defaults)
    set_by_user = [each for path in line.config_files for each in read_config_file(config_type, path)] + line.given
    given += set_by_user
    if line.print_config:
        sys.stdout.write(yaml_of(config_type, resolve(config_type, given)))
        raise SystemExit(0)
    return from_given(config_type, given, prefix="--"), frozenset(each.name for each in set_by_user)


def help_text(config_type: type, *, prog: str, about: str, defaults: Mapping[str, Any]) -> str:
    """What --help prints: the command, then every flag under its section."""
    fields = {
        name: replace(field, default=defaults.get(name, field.default))
        for name, field in fields_of(config_type).items()
    }
    usage = f"{prog} [--config FILE.yaml] [--flag value ...]"
    return parser_of(fields, prog=prog, usage=usage, description=f"{about}\n\n{NOTES}", add_help=False).format_help()


@contextmanager
def exit_on_config_error(prog: str) -> Iterator[None]:
    """Turn a ConfigError into a line a problem on stderr and exit code 2."""
    try:
        yield
    except ConfigError as error:
        sys.stderr.writelines(f"{prog}: {problem}\n" for problem in error.problems)
        raise SystemExit(2) from None
