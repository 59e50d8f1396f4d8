"""Slices of layers beside ZeRO: DeepSpeed's own tensor-parallel layers (AutoTP), where transformers' plans want them.

DeepSpeed by itself would slice what its patterns find, an untied head of the vocabulary among it, which others read as
a whole weight; and it would let ranks wait for one another as long as torch does by default. So here the layers are
put in one by one, and DeepSpeed is told which ranks hold slices (its `mpu`), for the shards and for the norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard

from lightrft_strategy.training.full import SLICE, Slice
from lightrft_strategy.training.slices import plan_slices


@dataclass(frozen=True)
class ModelParallel:
    """What DeepSpeed asks a program that slices models by itself: who holds other slices (tp), who the same (dp)."""

    mesh: DeviceMesh

    def get_model_parallel_group(self) -> dist.ProcessGroup:
        return self.mesh.get_group("tp")

    def get_model_parallel_world_size(self) -> int:
        return self.mesh["tp"].size()

    def get_model_parallel_rank(self) -> int:
        return self.mesh.get_local_rank("tp")

    def get_data_parallel_group(self) -> dist.ProcessGroup:
        return self.mesh.get_group("dp")

    def get_data_parallel_group_ranks(self) -> list[int]:
        return dist.get_process_group_ranks(self.get_data_parallel_group())

    def get_data_parallel_world_size(self) -> int:
        return self.mesh["dp"].size()

    def get_data_parallel_rank(self) -> int:
        return self.mesh.get_local_rank("dp")


def slice_layers_by(deepspeed: Any, module: nn.Module, layers: list[nn.Module], mesh: DeviceMesh) -> None:
    """Put DeepSpeed's layers in the place of a module's, each with this rank's slice of the weights, marked as Slice.

    mesh: of one dimension, the ranks that compute every micro-batch together. Parameters remain themselves. Raises
    ValueError as plan_slices does.
    """
    sliced = deepspeed.module_inject.layers
    kinds: Mapping[str, tuple[Any, dict[str, bool]]] = {
        "colwise": (sliced.LinearLayer, {}),
        "rowwise": (sliced.LinearAllreduce, {}),
        "colwise_gather_output": (sliced.LinearLayer, {"gather_output": True}),
        "rowwise_split_input": (sliced.LinearAllreduceWithReplicatedInput, {}),
    }
    plan, group = plan_slices(module, layers, mesh.size()), mesh.get_group()
    deepspeed.init_distributed(deepspeed.accelerator.get_accelerator().communication_backend_name())
    deepspeed.module_inject.set_autotp_mode(training=True)
    for name, (part, kind) in plan.linear.items():
        make, options = kinds[kind]
        by_output = kind.startswith("colwise")
        module.set_submodule(name, make(part, mp_group=group, name=name, **options))
        for own, weight in part.named_parameters():
            if by_output or own == "weight":
                setattr(weight, SLICE, Slice(mesh, Shard(0 if by_output else 1)))
    for name in plan.summed:
        module.get_parameter(name).register_hook(Summed(group))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Summed:
    """A gradient hook: the sum of what ranks of a group have of it."""

    group: dist.ProcessGroup

    def __call__(self, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total, group=self.group)
        return total
