"""How a vLLM worker gets by until the trainer's first weights come."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

FORMAT = "lightrft"
"""The load_format; `worker` brings this module into every process that loads a model."""


@register_model_loader(FORMAT)
class WithoutWeights(DummyModelLoader):  # type: ignore[misc]
    """Makes parameters up, as vLLM's `dummy` does, and nothing else.

    vLLM makes buffers up too; those that no checkpoint has, such as the mean and deviation of pixels, nobody would ever
    set right again.
    """

    def load_weights(self, model: nn.Module, model_config: Any) -> None:
        """Leave buffers as the model was built with them."""
        before = {name: buffer.clone() for name, buffer in _saved_buffers(model)}
        super().load_weights(model, model_config)
        with torch.no_grad():
            for name, buffer in _saved_buffers(model):
                if not before[name].is_meta:
                    buffer.copy_(before[name])


def _saved_buffers(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Those that state_dict has: vLLM leaves the others alone."""
    return [
        (f"{name}.{own}", buffer)
        for name, module in model.named_modules()
        for own, buffer in module.named_buffers(recurse=False)
        if own not in module._non_persistent_buffers_set
    ]
