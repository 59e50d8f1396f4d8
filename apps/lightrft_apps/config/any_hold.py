"""How models lie on the processes of a run by another package."""

from __future__ import annotations

from lightrft_apps.config.errors import ConfigError
from lightrft_strategy.plugins import ForeignError, foreign_names, load_foreign, origin
from lightrft_strategy.training import Hold

GROUP = "lightrft.strategies"
"""Entry points of other packages: a name and where its Hold is, whose modules keep all their weights."""


def find_hold(name: str) -> Hold:
    """The Hold that --strategy names. Raises ConfigError, naming the package, if it cannot be loaded or called."""
    known = foreign_names(GROUP)
    if name not in known:
        offered = f"set it to one of {', '.join(known)}" if known else "no installed package offers one"
        raise ConfigError([f"--strategy {name}: {offered}, or leave it out; --fsdp and --zero_stage are flags"])
    try:
        hold: Hold = load_foreign(GROUP, name)
    except ForeignError as error:
        raise ConfigError([f"--strategy {name}: {error}"]) from error
    if not callable(hold):
        raise ConfigError([f"--strategy {name}: {origin(GROUP, name)} cannot be called"])
    return hold
