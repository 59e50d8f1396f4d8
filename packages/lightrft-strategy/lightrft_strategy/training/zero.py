"""A model in the hands of DeepSpeed's ZeRO: optimiser, gradients and weights in shards over the ranks.

Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models". DeepSpeed keeps master
weights in float32 and nothing else, so a model in float64 cannot be held this way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from math import nan
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn.functional import pad

from lightrft_core import Batch, Ranks
from lightrft_core.protocols import T
from lightrft_strategy.devices import device
from lightrft_strategy.training.average import exchange
from lightrft_strategy.training.fsdp2 import layers
from lightrft_strategy.training.full import full, part_of, whole_of
from lightrft_strategy.training.held import Held
from lightrft_strategy.training.mesh import require_rows, rows
from lightrft_strategy.training.optimiser import (
    OptimiserConfig,
    remember_nothing,
    set_learning_rate,
    unborn_adamw,
)
from lightrft_strategy.training.whole import Whole
from lightrft_strategy.training.zero_slices import ModelParallel, slice_layers_by

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Zero:
    """A Hold. stage: what ranks hold in shards: 1 the optimiser, 2 the gradients too, 3 the weights too.

    adam_offload: masters, moments and the AdamW step live on the CPU.
    overlap_comm: reduce gradients, and at stage 3 gather weights, while others are computed; not at stage 1.
    contiguous_gradients: copy gradients into one buffer as they come, which keeps memory in one piece.
    persistence_threshold: at stage 3, tensors of up to so many elements stay whole on every rank beside their shards.
    tp_size: so many neighbours compute every micro-batch together, each with a slice of every layer (DeepSpeed's
    AutoTP); not at stage 3. timeout: how long these wait for one another; None: as long as torch lets them by default.

    A frozen model is in shards at stage 3 and whole, or in slices, below. Raises ValueError for what DeepSpeed cannot.
    """

    stage: int = 2
    adam_offload: bool = False
    overlap_comm: bool = False
    contiguous_gradients: bool = True
    persistence_threshold: int = 100_000
    tp_size: int = 1
    timeout: timedelta | None = None

    def __post_init__(self) -> None:
        if self.stage not in (1, 2, 3):
            raise ValueError(f"ZeRO has the stages 1, 2 and 3, not {self.stage}")
        if self.overlap_comm and self.stage == 1:
            raise ValueError("ZeRO stage 1 reduces gradients once a step and cannot overlap it: take stage 2 or 3")
        if self.tp_size > 1 and self.stage == 3:
            raise ValueError("at ZeRO stage 3 weights lie in shards, which are not cut into slices: take stage 1 or 2")

    def __call__(
        self, module: nn.Module, config: OptimiserConfig | None, dtype: torch.dtype | None, ranks: Ranks
    ) -> Held:
        """Hold a module in float32, computing in it (dtype None), in bfloat16 or in float16."""
        if dtype not in (None, torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"ZeRO computes in float32, bfloat16 or float16, not in {dtype}")
        other = {str(parameter.dtype) for parameter in module.parameters()} - {"torch.float32"}
        if other:
            raise ValueError(f"DeepSpeed's master weights are in float32; this model is in {', '.join(sorted(other))}")
        if any(parameter.is_meta for parameter in module.parameters()):
            raise ValueError(
                "DeepSpeed shards weights that exist; this model is on the meta device: load it with its weights"
            )
        mesh = None
        if self.tp_size > 1:
            require_rows(ranks, self.tp_size)
            mesh = rows(self.tp_size, self.timeout)
            slice_layers_by(_deepspeed(ranks), module, layers(module), mesh["tp"])
        if config is None and self.stage < 3:
            return Whole(module, None, dtype, ranks)
        return Sharded(self, module, config, None if dtype == torch.float32 else dtype, ranks, mesh)

    def settings(self, config: OptimiserConfig | None, dtype: torch.dtype | None) -> dict[str, Any]:
        """DeepSpeed's configuration: it counts no micro-batches, prints nothing and writes nothing.

        A loss scale that stands still is one that it lets others set.
        """
        zero: dict[str, Any] = {
            "stage": self.stage,
            "overlap_comm": self.overlap_comm,
            "contiguous_gradients": self.contiguous_gradients,
            "stage3_param_persistence_threshold": self.persistence_threshold,
        }
        if self.adam_offload and config is not None:
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": device().type != "cpu"}
        return {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "managed_gradient_accumulation": False,
            "gradient_clipping": config.max_norm if config is not None else 0.0,
            "zero_optimization": zero,
            "zero_force_ds_cpu_optimizer": False,
            "bf16": {"enabled": dtype == torch.bfloat16},
            "fp16": {"enabled": dtype == torch.float16, "loss_scale": 1.0},
            "data_types": {"grad_accum_dtype": "fp32"},
            "communication_data_type": "fp32",
            "steps_per_print": None,
        }


def deepspeed_computes_in(dtype: torch.dtype) -> bool:
    """Whether DeepSpeed, which is installed, computes in this type on this device."""
    from deepspeed.accelerator import get_accelerator

    return dtype in get_accelerator().supported_dtypes()


class Sharded:
    """A model as Zero holds it: see Held.

    DeepSpeed averages gradients over the ranks that hold the same of a model, so each loss is multiplied by their
    number first; it adds gradients of micro-batches up in float32 until `step`, which clips them by their global norm.
    rows: of ranks that hold slices of its layers; None: there are none.
    """

    def __init__(
        self,
        zero: Zero,
        module: nn.Module,
        config: OptimiserConfig | None,
        dtype: torch.dtype | None,
        ranks: Ranks,
        rows: DeviceMesh | None,
    ) -> None:
        self.zero, self.ranks, self.deepspeed = zero, ranks, _deepspeed(ranks)
        self.dtype = dtype
        if config is None:
            module.requires_grad_(False)
        self.trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self.adam = unborn_adamw(self.trained, config) if config is not None else None
        exact = {name: parameter.detach() for name, parameter in self.trained.items() if dtype}
        plain = nn.functional.linear
        unit = self.deepspeed.utils.groups.mpu = ModelParallel(rows) if rows is not None else None
        engine = self.deepspeed.initialize(
            model=_Face(module), optimizer=self.adam, config=zero.settings(config, dtype), mpu=unit
        )[0]
        self.linear, nn.functional.linear = nn.functional.linear, plain
        self.engine, self.module = engine, module
        module._parameters = engine.module._parameters
        module.forward = self._forward
        if self.adam is not None:
            self._remember_nothing(self.adam)
            for name in list(exact):
                self._set_master(self.trained[name], exact.pop(name))

    @property
    def scale(self) -> float:
        """What DeepSpeed multiplies losses by, and divides gradients by: see Held."""
        return float(self.engine.optimizer.loss_scale)

    @scale.setter
    def scale(self, value: float) -> None:
        self.engine.optimizer.loss_scale = value

    def _forward(self, batch: Batch) -> Any:
        with self._computing():
            output, kind = self.engine(batch), self.engine.module.kind
        return output if kind is None else kind(*output)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Within, linear layers keep no gathered weight for their backward pass, as stage 3 wants it.

        DeepSpeed puts its own function in the place of torch's for every model of the process, and for good.
        """
        plain, nn.functional.linear = nn.functional.linear, self.linear
        try:
            yield
        finally:
            nn.functional.linear = plain

    @torch.no_grad()
    def gathered(self, function: Callable[[], T]) -> T:
        """What function() gives, without gradient; it may call any part of the module."""
        results: list[T] = []
        with self._computing():
            self.engine.module(lambda: results.append(function()))
        return results[0]

    def backward(self, loss: Tensor) -> None:
        """Add a micro-batch's gradient to the shards (stage 1: to this rank's own)."""
        with self._computing():
            self.engine.backward(loss * (self.ranks.world_size // self.zero.tp_size))

    def step(self, learning_rate: float) -> tuple[float, str]:
        """One AdamW step by the gradients added up over all ranks. Returns (norm before clipping, why not)."""
        assert self.adam is not None
        set_learning_rate(self.adam, learning_rate)
        self.engine.step()
        if not self.engine.was_step_applied():
            self.clear()
            return nan, "the gradient's norm is not finite"
        return float(self.engine.get_global_grad_norm()), ""

    def clear(self) -> None:
        """Forget all gradients."""
        optimiser = self.engine.optimizer
        optimiser.zero_grad()
        for gradients in ("averaged_gradients", "all_grad_tensors"):
            vars(optimiser).get(gradients, {}).clear()
        if self.zero.adam_offload:
            optimiser.reset_cpu_buffers()
            optimiser.micro_step_id = 0 if self.zero.stage == 3 else -1

    def movable(self) -> tuple[list[Tensor], list[Tensor]]:
        """Nothing: DeepSpeed knows where its shards lie."""
        return [], []

    @torch.no_grad()
    def state(self) -> dict[str, Tensor]:
        """Copies of masters and moments on the CPU, cut along their first dimension where there are several ranks.

        See Held. DeepSpeed's own shards run through the flattened tensors, so each tensor is put together once on the
        way, one at a time.
        """
        get, mesh = self.deepspeed.utils, self._mesh()
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.trained.items():
            tensors[f"master.{name}"] = _cut(whole_of(parameter, get.safe_get_full_fp32_param(parameter)), mesh)
            tensors[f"adam.step.{name}"] = self._steps().cpu()
            for key in _MOMENTS:
                moment = get.safe_get_full_optimizer_state(parameter, key)
                tensors[f"adam.{key}.{name}"] = _cut(whole_of(parameter, moment), mesh)
        return tensors

    def shards(self) -> list[Tensor]:
        """This rank's masters, flattened one behind the other: see Held."""
        return [shard.detach() for shard in self.flat]

    @torch.no_grad()
    def named(self, shards: Sequence[Tensor]) -> dict[str, Tensor]:
        """Copies on the CPU, cut as those of `state`: DeepSpeed finds weights in its own shards alone."""
        get, mesh = self.deepspeed.utils.safe_get_full_fp32_param, self._mesh()
        with self._in_place(shards):
            return {name: _cut(whole_of(weight, get(weight)), mesh) for name, weight in self.trained.items()}

    @torch.no_grad()
    def fill(self, shards: Sequence[Tensor], named: Mapping[str, Tensor]) -> None:
        """Write what `named` gave once, of which one tensor at a time is put together."""
        with self._in_place(shards):
            for name, parameter in self.trained.items():
                self._set_master(parameter, part_of(parameter, full(named[name])))

    @contextmanager
    def _in_place(self, shards: Sequence[Tensor]) -> Iterator[None]:
        """Within, DeepSpeed's own shards have the numbers of these, which have theirs."""
        exchange(self.shards(), shards)
        try:
            yield
        finally:
            exchange(self.shards(), shards)

    def _mesh(self) -> DeviceMesh | None:
        return init_device_mesh("cpu", (self.ranks.world_size,)) if self.ranks.world_size > 1 else None

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave, of which one tensor at a time is put together.

        Raises ValueError if AdamW did not count the same steps for all parameters.
        """
        steps = {float(state[f"adam.step.{name}"]) for name in self.trained}
        if len(steps) > 1:
            raise ValueError(f"AdamW counted {sorted(steps)} steps for different weights; DeepSpeed counts one for all")
        assert self.adam is not None
        for shard in self.flat:
            self.adam.state[shard]["step"].fill_(*steps)
        for name, parameter in self.trained.items():
            self._set_master(parameter, part_of(parameter, full(state[f"master.{name}"])))
            for key in _MOMENTS:
                self._set_moment(parameter, key, part_of(parameter, full(state[f"adam.{key}.{name}"])))
        self.publish()

    @torch.no_grad()
    def publish(self) -> None:
        """Round the masters into the module's weights: at stage 3 one tensor at a time is put together."""
        if self.zero.stage < 3:
            self.engine.optimizer.update_lp_params()
            return
        for parameter in self.trained.values():
            master = self.deepspeed.utils.safe_get_full_fp32_param(parameter)
            with self.deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
                parameter.copy_(master)

    def _remember_nothing(self, adam: torch.optim.AdamW) -> None:
        optimiser = self.engine.optimizer
        if self.zero.stage == 3:
            self.flat = list(optimiser.fp32_partitioned_groups_flat)
        else:
            self.flat = [shard for group in adam.param_groups for shard in group["params"]]
        remember_nothing(adam, self.flat)
        if self.zero.stage < 3:
            optimiser._lazy_init_hp_params_optimizer_state()

    def _steps(self) -> Tensor:
        assert self.adam is not None
        steps: Tensor = self.adam.state[self.flat[0]]["step"].clone()
        return steps

    def _set_master(self, parameter: nn.Parameter, value: Tensor) -> None:
        utils = self.deepspeed.utils
        if self.zero.stage == 3:
            utils.safe_set_local_fp32_param(parameter, self._shard(parameter, value))
        else:
            utils.safe_set_full_fp32_param(parameter, value)

    def _set_moment(self, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        utils = self.deepspeed.utils
        if self.zero.stage == 3:
            utils.safe_set_local_optimizer_state(parameter, self._shard(parameter, value), key)
        else:
            utils.safe_set_full_optimizer_state(parameter, value, key)

    def _shard(self, parameter: Any, value: Tensor) -> Tensor:
        """This rank's part of a tensor, with zeros where the tensor ends before the part does."""
        size = parameter.ds_tensor.numel()
        padded = pad(value.flatten(), (0, size * self.ranks.world_size - value.numel()))
        return padded[size * self.ranks.rank :][:size]


class _Face(nn.Module):
    """What DeepSpeed sees of a module: its parts, and a forward function whose output is a tuple of fields.

    DeepSpeed's hooks find tensors in tuples, not in dataclasses; they gather weights before the backward pass of the
    tensors found. Weights that a module takes from its parts without calling them, such as a language-model head, are
    found by DeepSpeed as they are taken, and belong to the innermost module that is being called: to this one, since
    it calls nothing but the module's forward function.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._modules, self._parameters, self._buffers = module._modules, module._parameters, module._buffers
        self.function = module.forward
        self.kind: type | None = None

    def forward(self, work: Batch | Callable[[], None]) -> Any:
        if not isinstance(work, Batch):
            return work()
        output = self.function(work)
        if isinstance(output, Tensor):
            return output
        self.kind = type(output)
        return tuple(getattr(output, field.name) for field in fields(output))


def _cut(tensor: Tensor, mesh: DeviceMesh | None) -> Tensor:
    """A copy on the CPU: of this rank's part, as a DTensor, if there is a mesh of ranks; else of the whole."""
    if mesh is None:
        return tensor.cpu().clone()
    part = distribute_tensor(tensor.cpu(), mesh, [Shard(0)], src_data_rank=None).to_local().clone()
    return DTensor.from_local(part, mesh, [Shard(0)], run_check=False, shape=tensor.shape, stride=tensor.stride())


def _deepspeed(ranks: Ranks) -> Any:
    """DeepSpeed, ready to be used by these ranks. Raises ImportError that says how to install it."""
    try:
        import deepspeed
    except ImportError as error:
        raise ImportError("ZeRO needs DeepSpeed: install lightrft-strategy[deepspeed]") from error
    if device().type == "cpu":
        deepspeed.ops.__compatible_ops__ = {}  # or it compiles a shared-memory all-reduce that ZeRO never calls
        place = 0
    else:
        place = torch.accelerator.current_device_index()
    os.environ.setdefault("LOCAL_RANK", str(place))
    if not dist.is_initialized() and ranks.world_size == 1:
        backend = dist.get_default_backend_for_device(device())
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
    if not dist.is_initialized() or dist.get_world_size() != ranks.world_size:
        raise ValueError(f"a model for {ranks.world_size} ranks needs as many processes of torch.distributed")
    return deepspeed
