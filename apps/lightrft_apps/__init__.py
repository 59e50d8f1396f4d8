"""The doors of LightRFT, in Python: `train(RLConfig)` is `lightrft rl`, `tune(SFTConfig)` is `lightrft sft`."""

from typing import TYPE_CHECKING, Any

from lightrft_apps.config import RLConfig, SFTConfig

if TYPE_CHECKING:
    from lightrft_apps.training import train
    from lightrft_apps.tuning import tune

__all__ = ["RLConfig", "SFTConfig", "train", "tune"]


def __getattr__(name: str) -> Any:
    """`train` and `tune` import torch, which `lightrft --help` does not wait for."""
    if name == "train":
        from lightrft_apps.training import train

        return train
    if name == "tune":
        from lightrft_apps.tuning import tune

        return tune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
