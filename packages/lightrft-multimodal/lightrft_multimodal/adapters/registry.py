"""Which family a model belongs to, by its config's model_type."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from lightrft_multimodal.adapters.adapter import MediaAdapter
from lightrft_multimodal.adapters.family import Family

GROUP = "lightrft.adapters"
"""Entry points of other packages: a model_type and where its Family is."""

FAMILIES = {
    "qwen2_vl": "qwen2_vision",
    "qwen2_5_vl": "qwen2_vision",
    "qwen3_vl": "qwen3_vision",
    "qwen2_audio": "qwen_audio",
    "qwen2_5_omni": "qwen_omni",
    "qwen2_5_omni_thinker": "qwen_omni",
    "internvl": "internvl",
    "llava": "llava",
    "llava_next": "llava_next",
    "llava_onevision": "llava_onevision",
    "idefics3": "idefics3",
    "smolvlm": "smolvlm",
    "gemma3": "gemma3",
}
"""model_type -> the file beside this one whose FAMILY it is."""


def family_of(model_type: str) -> Family | None:
    """The family of a model_type; None for one that is not known to see or hear.

    Raises TypeError if another package's entry point for it is not a Family.
    """
    if model_type in FAMILIES:
        point = EntryPoint(model_type, f"lightrft_multimodal.adapters.{FAMILIES[model_type]}:FAMILY", GROUP)
    elif not (found := entry_points(group=GROUP, name=model_type)):
        return None
    else:
        (point, *_) = found
    family = point.load()
    if not isinstance(family, Family):
        raise TypeError(f"the entry point {point.name} = {point.value} of {GROUP} is no Family")
    return family


def load_adapter(pretrain: str | Path, *, trust_remote_code: bool = False) -> MediaAdapter | None:
    """The adapter of a checkpoint, from a folder or a hub id, with its processor; None if its models read text alone.

    Of a LoRA adapter that of the model it was put onto. trust_remote_code: let the checkpoint bring a processor of its
    own.
    """
    from transformers import AutoConfig, AutoProcessor
    from transformers.utils import find_adapter_config_file

    lora = find_adapter_config_file(str(pretrain))
    if lora is not None:
        pretrain = json.loads(Path(lora).read_text(encoding="utf-8"))["base_model_name_or_path"]
    config = AutoConfig.from_pretrained(pretrain, trust_remote_code=trust_remote_code)
    family = family_of(config.model_type)
    if family is None:
        return None
    processor = AutoProcessor.from_pretrained(pretrain, trust_remote_code=trust_remote_code)
    return MediaAdapter(family, processor, config)
