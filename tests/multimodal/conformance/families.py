"""The families the suite holds for: whoever adds one adds a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni, build_qwen2_5_vl, build_qwen2_audio

from ..tiny import gemma3, idefics3, internvl, llava
from ..tiny.qwen import build_qwen2_vl, build_qwen3_vl
from .prompts import Asked, Picture, asked


@dataclass(frozen=True)
class Case:
    """A family.

    build: writes a tiny checkpoint of it into a folder. modalities: what it reads.
    together: whether a prompt may have several. packs: whether its packed rows can be computed.
    gradients: within what they agree; some models normalise in float32 whatever their type.
    daily: whether the suite runs for it by default; else with -m proof.
    extra: questions that it alone may stumble over. needs: a module without which there is no processor of it.
    """

    name: str
    build: Callable[[Path], Path]
    modalities: tuple[str, ...] = ("image",)
    together: bool = True
    packs: bool = True
    gradients: float = 1e-9
    daily: bool = False
    extra: tuple[Asked, ...] = ()
    needs: str = "transformers"


SIZES = Sizes(
    hidden_size=32,
    num_attention_heads=2,
    num_key_value_heads=1,
    tower_size=16,
    initializer_range=0.2,
    max_seconds=2,
)
IMAGE_AND_VIDEO = ("image", "video")
FINE = asked(Picture(11, 44, 48), "What is it?")
"""A picture of so many parts that some families make fewer embeddings of each."""
TWO = asked(Picture(12, 30, 40), "or", Picture(13, 24, 16), "?")
"""Which some families cut less finely than one."""

CASES = (
    Case("qwen2_vl", partial(build_qwen2_vl, sizes=SIZES), IMAGE_AND_VIDEO),
    Case("qwen2_5_vl", partial(build_qwen2_5_vl, sizes=SIZES), IMAGE_AND_VIDEO, daily=True),
    Case("qwen3_vl", partial(build_qwen3_vl, sizes=SIZES), IMAGE_AND_VIDEO),
    Case("qwen2_audio", partial(build_qwen2_audio, sizes=SIZES), ("audio",), daily=True),
    Case("qwen2_5_omni", partial(build_qwen2_5_omni, sizes=SIZES), ("image", "video", "audio"), daily=True),
    Case("internvl", internvl.build, IMAGE_AND_VIDEO),
    Case("llava", llava.build),
    Case("llava_next", llava.build_next),
    Case("llava_onevision", llava.build_onevision, IMAGE_AND_VIDEO, extra=(FINE, TWO)),
    Case("idefics3", idefics3.build),
    Case("smolvlm", idefics3.build_smolvlm, IMAGE_AND_VIDEO, together=False, needs="num2words"),
    Case("gemma3", gemma3.build, gradients=1e-5, daily=True),
    Case("gemma3 of narrow windows", partial(gemma3.build, window=7), packs=False, gradients=1e-5),
)
