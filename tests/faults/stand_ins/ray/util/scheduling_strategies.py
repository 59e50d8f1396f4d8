"""A place in a placement group."""

from __future__ import annotations

from typing import Any, NamedTuple


class PlacementGroupSchedulingStrategy(NamedTuple):
    placement_group: Any
    bundle: int
