"""Every algorithm that --algorithm may name: the rows of core's table, and those of other packages."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from lightrft_apps.config.errors import ConfigError
from lightrft_core import ALGORITHMS, Algorithm
from lightrft_strategy.plugins import ForeignError, foreign_names, load_foreign, origin, refuse_own_name

GROUP = "lightrft.algorithms"
"""Entry points of other packages: a name and where its Algorithm is."""


def algorithm_names() -> list[str]:
    """Those of the table, then those of other packages; nothing is loaded."""
    return list(dict.fromkeys([*ALGORITHMS, *foreign_names(GROUP)]))


def unknown_algorithm(name: str, known: Collection[str]) -> str:
    """What to say about a name that is in no row."""
    nearest = get_close_matches(name, list(known), n=1)
    meant = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"there is no algorithm {name!r}{meant} There are {', '.join(known)}"


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
