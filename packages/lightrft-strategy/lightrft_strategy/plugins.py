"""What other packages offer by their entry points: found by name, loaded only once it is named."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any


class ForeignError(ValueError):
    """Something of another package cannot be used; the message names that package."""


def foreign_names(group: str) -> list[str]:
    """The names that a group of entry points offers, sorted; nothing is loaded."""
    return sorted(_found(group, _places()).names)


def load_foreign(group: str, name: str) -> Any:
    """What the entry point of that name stands for.

    Raises ForeignError if there is none, if two packages offer the name, or if it cannot be loaded.
    """
    points = _found(group, _places()).select(name=name)
    if len(points) != 1:
        offering = "no package offers" if not points else f"{' and '.join(map(package_of, points))} both offer"
        raise ForeignError(f"{offering} {name!r} in {group}{': uninstall one of them' if points else ''}")
    (point,) = points
    try:
        return point.load()
    except Exception as error:
        raise ForeignError(f"{origin(group, name)} cannot be loaded: {type(error).__name__}: {error}") from error


def refuse_own_name(group: str, name: str) -> None:
    """Raise ForeignError if another package offers a name that is taken by LightRFT itself."""
    if name in _found(group, _places()).names:
        raise ForeignError(f"{origin(group, name)} offers the name {name!r}, which is LightRFT's own: uninstall it")


def origin(group: str, name: str) -> str:
    """Where a foreign name comes from, for messages."""
    point = next(iter(_found(group, _places()).select(name=name)))
    return f"{package_of(point)} (entry point {name} = {point.value} of {group})"


def package_of(point: EntryPoint) -> str:
    """The distribution that brings an entry point, for messages."""
    return "an unknown package" if point.dist is None else f"the package {point.dist.name} {point.dist.version}"


def _places() -> tuple[tuple[str, int], ...]:
    """Where packages lie, and when each place last changed."""
    return tuple((place, Path(place).stat().st_mtime_ns) for place in sys.path if Path(place).exists())


@cache
def _found(group: str, places: tuple[tuple[str, int], ...]) -> EntryPoints:
    """places: what this depends on."""
    return entry_points(group=group)
