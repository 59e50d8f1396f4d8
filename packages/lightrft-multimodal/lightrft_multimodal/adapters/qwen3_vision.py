"""Qwen3-VL: as Qwen2.5-VL, with DeepStack, and with the time of each frame written between the frames of a video."""

from lightrft_multimodal.adapters.qwen2_vision import FAMILY

__all__ = ["FAMILY"]
