"""Checkpoints that other trainers wrote: their weights by name, read without running anything that is in them."""

from lightrft_strategy.foreign.folder import Foreign, open_foreign
from lightrft_strategy.foreign.names import take_weights

__all__ = ["Foreign", "open_foreign", "take_weights"]
