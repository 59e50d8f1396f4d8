"""What we tell SGLang at its start."""

from __future__ import annotations

from typing import Any

import torch

from lightrft_strategy.engines.backend import EngineRefused
from lightrft_strategy.engines.config import EngineConfig

LOADER = "lightrft_strategy.engines.sglang.worker.take"
"""The function through which SGLang's workers take our weights; SGLang calls none that it was not started with."""

SPARE = 2
"""Tokens by which SGLang cuts an answer short before its context is full."""

ENVIRONMENT = {
    "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN": "1",
    "SGLANG_RETURN_ORIGINAL_LOGPROB": "0",
    "SGLANG_VLM_CACHE_SIZE_MB": "0",
}
"""Lets the context be SPARE tokens longer than the model's, which no answer ever reaches, keeps log-probabilities under
the temperature, and keeps no embeddings of media: SGLang forgets those of old towers with no command, and with no room
for any it computes them anew."""


def engine_arguments(config: EngineConfig) -> dict[str, Any]:
    """Keyword arguments of sglang.Engine, which are also the fields of its ServerArgs.

    Only in deterministic mode does SGLang heed a request's seed; it also makes an answer the same in whatever company
    it is drawn. Weights are made up at the start, because the trainer's always follow; but in fp8 SGLang takes new ones
    by its FlashRL loader alone, which reads the model's own first and knows Qwen2 and Qwen3.
    """
    return {
        "model_path": config.model,
        "dtype": config.dtype,
        "quantization": "fp8" if config.fp8 else None,
        "load_format": "flash_rl" if config.fp8 else "dummy",
        "trust_remote_code": config.trust_remote_code,
        "context_length": config.max_model_len + SPARE,
        "tp_size": config.tp_size,
        "mem_fraction_static": config.mem_util,
        "max_running_requests": config.max_num_seqs,
        "random_seed": config.seed,
        "enable_deterministic_inference": True,
        "disable_radix_cache": not config.enable_prefix_caching,
        "cuda_graph_backend_decode": "disabled" if config.enforce_eager else None,
        "cuda_graph_backend_prefill": "disabled" if config.enforce_eager else None,
        "enable_memory_saver": config.enable_sleep,
        "custom_weight_loader": [LOADER],
        "log_level": "warning",
    }


def command_line(config: EngineConfig) -> list[str]:
    """The same as options of `python -m sglang.launch_server`."""
    options: list[str] = []
    for name, value in engine_arguments(config).items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            options.append(option)
        elif isinstance(value, list):
            options += [option, *value]
        elif value is not None and value is not False:
            options += [option, str(value)]
    return options


def need_accelerator() -> None:
    """Raises EngineRefused on a machine whose processor SGLang would have to sample on."""
    if not torch.accelerator.is_available():
        raise EngineRefused(
            "SGLang finds no GPU here, and its wheel has no kernels for a CPU: use --engine_type vllm or embedded"
        )
