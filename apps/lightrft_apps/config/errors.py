"""What is raised when a configuration cannot be used."""

from __future__ import annotations

from collections.abc import Sequence


class ConfigError(ValueError):
    """A configuration that cannot be used, with everything found wrong in it.

    problems: one line each: what was given, what is wrong with it, what to change it to.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
