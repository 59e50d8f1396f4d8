"""How models are trained on the ranks of a run: whole on each, in shards, or by DeepSpeed."""

from lightrft_strategy.training.fsdp2 import FullyShard
from lightrft_strategy.training.full import full_tensors
from lightrft_strategy.training.held import Held, Hold
from lightrft_strategy.training.optimiser import OptimiserConfig
from lightrft_strategy.training.ranks import TorchRanks, open_ranks
from lightrft_strategy.training.strategy import TorchStrategy
from lightrft_strategy.training.whole import Whole

__all__ = [
    "FullyShard",
    "Held",
    "Hold",
    "OptimiserConfig",
    "TorchRanks",
    "TorchStrategy",
    "Whole",
    "full_tensors",
    "open_ranks",
]
