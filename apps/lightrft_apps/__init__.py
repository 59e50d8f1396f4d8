"""The doors of LightRFT: `from lightrft_apps import RLConfig, train` is the `lightrft rl` command in Python."""

from typing import TYPE_CHECKING, Any

from lightrft_apps.config import RLConfig

if TYPE_CHECKING:
    from lightrft_apps.training import train

__all__ = ["RLConfig", "train"]


def __getattr__(name: str) -> Any:
    """`train` imports torch, which `lightrft --help` does not wait for."""
    if name == "train":
        from lightrft_apps.training import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
