"""The doors of LightRFT, in Python: `train(RLConfig)` is `lightrft rl`, `tune(SFTConfig)` is `lightrft sft`, and
`train_reward_model(RMConfig)` is `lightrft srm`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightrft_apps.config import RLConfig, RMConfig, SFTConfig

if TYPE_CHECKING:
    from lightrft_apps.reward_training import train_reward_model
    from lightrft_apps.training import train
    from lightrft_apps.tuning import tune

__all__ = ["RLConfig", "RMConfig", "SFTConfig", "train", "train_reward_model", "tune"]

_MODULES = {"train": "training", "train_reward_model": "reward_training", "tune": "tuning"}


def __getattr__(name: str) -> Any:
    """What trains imports torch, which `lightrft --help` does not wait for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lightrft_apps.{_MODULES[name]}"), name)
