"""The configuration of a run that is there already, whichever command it was of."""

from __future__ import annotations

from os import PathLike
from typing import TypeAlias

from lightrft_apps.config.grm import GRMConfig
from lightrft_apps.config.reading.files import names_in_file
from lightrft_apps.config.reading.schema import NEEDED, fields_of, meant
from lightrft_apps.config.rl import RLConfig
from lightrft_apps.config.rm import RMConfig
from lightrft_apps.config.sft import SFTConfig

RunConfig: TypeAlias = RLConfig | SFTConfig | RMConfig | GRMConfig

COMMANDS: dict[type[RunConfig], str] = {RLConfig: "rl", SFTConfig: "sft", RMConfig: "srm", GRMConfig: "grm"}


def stored_config(path: str | PathLike[str]) -> RunConfig:
    """A run's config.yaml, or a recipe. Raises ConfigError as RLConfig.create, naming the file."""
    names = {meant(spelling).name for spelling in names_in_file(path)}
    return min(COMMANDS, key=lambda command: _strangeness(names, command)).from_file(path)


def _strangeness(names: set[str], config_type: type) -> int:
    """How many of the names a command does not know, and how many that it needs are not there."""
    fields = fields_of(config_type)
    needed = {name for name, field in fields.items() if field.default is NEEDED}
    return len(names - fields.keys()) + len(needed - names)
