"""Between a command's configuration and what it was written as: keywords, a flat dict, a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, Self

from lightrft_apps.config.reading.files import read_config_file, write_yaml, yaml_of
from lightrft_apps.config.reading.flat import from_flat, from_given, to_flat


class Replayable:
    """A dataclass of sections, which a file replays."""

    @classmethod
    def create(cls, **flat: Any) -> Self:
        """From keywords named as the flags are: `RLConfig.create(pretrain=..., prompt_data=..., output_dir=...)`.

        Raises ConfigError for unknown names, values of another type and values that are needed and missing.
        """
        return from_flat(cls, flat)

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> Self:
        """From a dict as `to_flat` returns it; names left out have their defaults. Raises ConfigError as `create`."""
        return from_flat(cls, flat)

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Self:
        """From a YAML file, such as a run's config.yaml. Raises ConfigError as `create`, naming the file."""
        return from_given(cls, read_config_file(cls, path))

    def to_flat(self) -> dict[str, Any]:
        """Every value by the name of its flag."""
        return to_flat(self)

    def save(self, path: str | PathLike[str], record: Mapping[str, Any]) -> None:
        """Write YAML that `--config` replays. record: code revision, package versions and the like, for people."""
        write_yaml(path, yaml_of(type(self), self.to_flat(), record))
