"""One row without padding for a whole micro-batch: each prompt once, its answers behind it, attention that knows so."""

from lightrft_strategy.packing.attention import NAME, on_any_device, pack_attention, packed_hidden
from lightrft_strategy.packing.row import FlatRow, flatten, places_of

__all__ = [
    "NAME",
    "FlatRow",
    "flatten",
    "on_any_device",
    "pack_attention",
    "packed_hidden",
    "places_of",
]
