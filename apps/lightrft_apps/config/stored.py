"""The configuration of a run that is there already, whichever command it was of."""

from __future__ import annotations

from os import PathLike

from lightrft_apps.config.files import names_in_file
from lightrft_apps.config.rl import RLConfig
from lightrft_apps.config.sft import SFTConfig

COMMANDS = {RLConfig: "rl", SFTConfig: "sft"}


def stored_config(path: str | PathLike[str]) -> RLConfig | SFTConfig:
    """A run's config.yaml. Raises ConfigError as RLConfig.create, naming the file."""
    return (SFTConfig if "dataset" in names_in_file(path) else RLConfig).from_file(path)
