"""Between a configuration of sections and one flat dict of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.schema import NEEDED, by_field, fields_of, unknown
from lightrft_apps.config.reading.values import Given, resolve

Config = TypeVar("Config")


def to_flat(config: object) -> dict[str, Any]:
    """Every value of every section by its name."""
    return {name: getattr(getattr(config, field.section), name) for name, field in fields_of(type(config)).items()}


def from_flat(config_type: type[Config], flat: Mapping[str, Any]) -> Config:
    """A configuration from Python values by name.

    Raises ConfigError for unknown names, values of another type and values that are needed and missing.
    """
    return from_given(config_type, given_in_python(config_type, flat))


def given_in_python(config_type: type, flat: Mapping[str, Any]) -> list[Given]:
    """Python values by name, as given. Raises ConfigError for unknown names."""
    known, fields = fields_of(config_type), by_field(flat)
    problems = ["unknown name " + unknown(spelling, known) for spelling in flat if fields[spelling].name not in known]
    if problems:
        raise ConfigError(problems)
    return [
        Given(fields[spelling].name, value, f"{spelling}={value!r}", opposite=fields[spelling].opposite)
        for spelling, value in flat.items()
    ]


def from_given(config_type: type[Config], given: Sequence[Given], *, prefix: str = "") -> Config:
    """A configuration from values somebody wrote; prefix: what stands before names in messages.

    Raises ConfigError for values of another type and values that are needed and missing.
    """
    flat = resolve(config_type, given)
    fields = fields_of(config_type)
    absent = [field for name, field in fields.items() if field.default is NEEDED and flat[name] is None]
    if absent:
        raise ConfigError([f"{prefix}{field.name} is needed: {field.doc}" for field in absent])
    section_types = get_type_hints(config_type)
    sections = {
        section: {name: flat[name] for name, field in fields.items() if field.section == section}
        for section in {field.section for field in fields.values()}
    }
    return config_type(**{section: section_types[section](**values) for section, values in sections.items()})
