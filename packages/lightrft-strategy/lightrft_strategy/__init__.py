"""The machines of LightRFT: training strategies, sampling engines, checkpoints; and text in and out."""

from lightrft_strategy.checkpoints import checkpoints, newest_whole, prune_checkpoints, write_checkpoint, write_folder
from lightrft_strategy.devices import device, keep_freed_memory
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.generation import end_tokens
from lightrft_strategy.language import LanguageActor, load_language_model
from lightrft_strategy.placement import Placement
from lightrft_strategy.training import OptimiserConfig, TorchStrategy

__all__ = [
    "EmbeddedEngine",
    "LanguageActor",
    "OptimiserConfig",
    "Placement",
    "ServedEngine",
    "TorchStrategy",
    "checkpoints",
    "device",
    "end_tokens",
    "keep_freed_memory",
    "load_language_model",
    "newest_whole",
    "prune_checkpoints",
    "write_checkpoint",
    "write_folder",
]
