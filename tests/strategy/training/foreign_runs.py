"""Checkpoints as other trainers write them, with the real libraries; ranks call these."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lightrft_strategy.training import TorchRanks

from .recorded import VOCABULARY, language_model

Weights = dict[str, numpy.ndarray]


class Wrapper(nn.Module):
    """What trainers put around a model, which changes the names of its weights; and a weight of an odd size."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))
        self.policy = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self.policy(input_ids=ids, labels=ids, use_cache=False).loss
        return loss * self.scale.mean()


def _tokens(step: int) -> torch.Tensor:
    return torch.arange(7)[None].mul(step + 3 + TorchRanks().rank).remainder(VOCABULARY)


def of_deepspeed(stage: int, bf16: bool, folder: Path, client_state: dict[str, Any] | None = None) -> Weights:
    """Two steps with DeepSpeed alone, and its checkpoint. Returns the masters; one weight is frozen."""
    import deepspeed

    deepspeed.ops.__compatible_ops__ = {}  # or it compiles a shared-memory all-reduce
    os.environ.setdefault("LOCAL_RANK", "0")
    model = Wrapper(language_model(tie_word_embeddings=False, attention_bias=True))
    model.policy.model.norm.weight.requires_grad_(False)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    groups = [
        {"params": [p for p in trained.values() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in trained.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0, "sub_group_size": 3000},
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bf16},
        "steps_per_print": None,
    }
    engine = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(groups, lr=1e-2), config=settings)[0]
    for step in range(2):
        engine.backward(engine(_tokens(step)))
        engine.step()
    engine.save_checkpoint(str(folder), client_state=client_state or {})
    masters = {name: deepspeed.utils.safe_get_full_fp32_param(parameter) for name, parameter in trained.items()}
    with deepspeed.zero.GatheredParameters(list(model.parameters()), enabled=stage == 3):
        masters["policy.model.norm.weight"] = model.policy.model.norm.weight.detach().float()
    return {name: master.detach().clone().numpy() for name, master in masters.items()}


def of_dcp(folder: Path) -> Weights:
    """Two steps with FSDP2 alone, and what torch.distributed.checkpoint makes of model and optimiser."""
    model = Wrapper(language_model())
    fully_shard(model, mesh=init_device_mesh("cpu", (TorchRanks().world_size,)))
    adam = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(2):
        model(_tokens(step)).backward()
        adam.step()
        adam.zero_grad()
    weights = get_model_state_dict(model)
    state = {"model": weights, "optim": get_optimizer_state_dict(model, adam), "step": 2, "rng": torch.get_rng_state()}
    dcp.save(state, checkpoint_id=folder)
    return {name: tensor.full_tensor().numpy() for name, tensor in weights.items()}
