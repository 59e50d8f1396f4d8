"""Every algorithm that --algorithm may name: the rows of core's table, and those of other packages."""

from __future__ import annotations

from lightrft_apps.config import ConfigError
from lightrft_core import ALGORITHMS, Algorithm
from lightrft_strategy.plugins import ForeignError, foreign_names, load_foreign, origin, refuse_own_name

GROUP = "lightrft.algorithms"
"""Entry points of other packages: a name and where its Algorithm is."""


def algorithm_names() -> list[str]:
    """Those of the table, then those of other packages; nothing is loaded."""
    return list(dict.fromkeys([*ALGORITHMS, *foreign_names(GROUP)]))


def find_algorithm(name: str) -> Algorithm:
    """The algorithm of that name, one of `algorithm_names`.

    Raises ConfigError, naming the package, if another package takes a name of the table, or offers what cannot be
    loaded or is no Algorithm.
    """
    try:
        if name in ALGORITHMS:
            refuse_own_name(GROUP, name)
            return ALGORITHMS[name]
        loaded = load_foreign(GROUP, name)
    except ForeignError as error:
        raise ConfigError([f"--algorithm {name}: {error}"]) from error
    if not isinstance(loaded, Algorithm):
        raise ConfigError([f"--algorithm {name}: {origin(GROUP, name)} is no lightrft_core.Algorithm"])
    return loaded
