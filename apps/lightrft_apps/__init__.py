"""The doors of LightRFT, in Python: `train(RLConfig)` is `lightrft rl`, `tune(SFTConfig)` is `lightrft sft`,
`train_reward_model(RMConfig)` is `lightrft srm`, and `train_judge(GRMConfig)` is `lightrft grm`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightrft_apps.config import GRMConfig, RLConfig, RMConfig, SFTConfig

if TYPE_CHECKING:
    from lightrft_apps.training.grm import train_judge
    from lightrft_apps.training.rl import train
    from lightrft_apps.training.sft import tune
    from lightrft_apps.training.srm import train_reward_model

__all__ = ["GRMConfig", "RLConfig", "RMConfig", "SFTConfig", "train", "train_judge", "train_reward_model", "tune"]

_MODULES = {
    "train": "training.rl",
    "train_judge": "training.grm",
    "train_reward_model": "training.srm",
    "tune": "training.sft",
}


def __getattr__(name: str) -> Any:
    """What trains imports torch, which `lightrft --help` does not wait for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lightrft_apps.{_MODULES[name]}"), name)
