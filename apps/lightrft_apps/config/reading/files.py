"""Configurations on disk: flat YAML, the same names as the flags."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.schema import by_field, fields_of, unknown
from lightrft_apps.config.reading.text import as_text
from lightrft_apps.config.reading.values import Given

RECORD = "_record"
"""Key of the notes beside a configuration (code revision, package versions); no reader of configurations heeds it."""


def read_config_file(config_type: type, path: str | os.PathLike[str]) -> list[Given]:
    """The values in a YAML file, its record left out.

    Raises ConfigError, naming the file, if it cannot be read or holds names the configuration does not have.
    """
    values = _mapping(Path(path))
    values.pop(RECORD, None)
    known, fields = fields_of(config_type), by_field(values)
    problems = [
        f"{path}: unknown name {unknown(str(spelling), known)}"
        for spelling in values
        if fields[spelling].name not in known
    ]
    if problems:
        raise ConfigError(problems)
    return [
        Given(
            fields[spelling].name,
            value,
            f"{path}: {spelling}: {as_text(value)}",
            opposite=fields[spelling].opposite,
        )
        for spelling, value in values.items()
    ]


def names_in_file(path: str | os.PathLike[str]) -> set[str]:
    """The names that a YAML file gives values to, as they are spelt there. Raises ConfigError if it cannot be read."""
    return {str(name) for name in _mapping(Path(path))} - {RECORD}


def _mapping(path: Path) -> dict[Any, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError([f"--config {path}: {(error.strerror or 'cannot be read').lower()}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not a text file in UTF-8"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not valid YAML: {' '.join(str(error).split())}"]) from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not isinstance(document, yaml.MappingNode):
        raise ConfigError([f"{path}: expected lines of `name: value`"])
    keys = [key.value for key, _ in document.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ConfigError([f"{path}: {key} is given twice; keep one of the two" for key in sorted(twice)])
    return content


def yaml_of(config_type: type, flat: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> str:
    """The complete configuration as YAML, section by section, with a record for people below it."""
    lines: list[str] = []
    title = None
    for name, field in fields_of(config_type).items():
        if field.title != title:
            title = field.title
            lines.append(f"\n# {title}\n" if lines else f"# {title}\n")
        lines.append(_yaml_line(name, flat[name]))
    if record is not None:
        lines.append("\n# How the run was made; not read back\n")
        lines.append(yaml.safe_dump({RECORD: dict(record)}, sort_keys=False, allow_unicode=True))
    return "".join(lines)


def _yaml_line(name: str, value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    # Unless quoted, PyYAML writes these line breaks as they are and reads them back as a space.
    quoted = '"' if re.search("[\x85\u2028\u2029]", as_text(value)) else None
    line: str = yaml.safe_dump(
        {name: value},
        default_flow_style=None if isinstance(value, list) else False,
        default_style=quoted,
        allow_unicode=True,
        width=100_000,
    )
    return line


def write_yaml(path: str | os.PathLike[str], text: str) -> None:
    """Write a file that is there whole or not at all."""
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(target)
