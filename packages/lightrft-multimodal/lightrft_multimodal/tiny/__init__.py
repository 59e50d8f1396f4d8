"""Models of real families small enough to learn in minutes on a CPU, made from a config without a hub."""

from lightrft_multimodal.tiny.qwen2_5_omni import build_qwen2_5_omni
from lightrft_multimodal.tiny.qwen2_5_vision import build_qwen2_5_vl
from lightrft_multimodal.tiny.qwen2_audio import build_qwen2_audio
from lightrft_multimodal.tiny.sizes import Sizes

__all__ = ["Sizes", "build_qwen2_5_omni", "build_qwen2_5_vl", "build_qwen2_audio"]
