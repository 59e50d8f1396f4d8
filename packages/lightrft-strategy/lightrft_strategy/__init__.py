"""The machines of LightRFT: training strategies, sampling engines, checkpoints; and text in and out."""

from lightrft_strategy.checkpoints import checkpoints, prune_checkpoints, write_checkpoint, write_folder
from lightrft_strategy.devices import device, keep_freed_memory
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.generation import end_tokens
from lightrft_strategy.language import LanguageActor, load_language_model
from lightrft_strategy.optimiser import MasterOptimiser, OptimiserConfig
from lightrft_strategy.placement import Placement
from lightrft_strategy.single import SingleProcess

__all__ = [
    "EmbeddedEngine",
    "LanguageActor",
    "MasterOptimiser",
    "OptimiserConfig",
    "Placement",
    "ServedEngine",
    "SingleProcess",
    "checkpoints",
    "device",
    "end_tokens",
    "keep_freed_memory",
    "load_language_model",
    "prune_checkpoints",
    "write_checkpoint",
    "write_folder",
]
