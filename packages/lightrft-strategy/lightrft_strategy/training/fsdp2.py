"""A model whose weights, gradients and moments the ranks hold in shards: torch's FSDP2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import hypot, isfinite, nan
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, Replicate

from lightrft_core import Ranks
from lightrft_core.protocols import T
from lightrft_strategy.devices import device
from lightrft_strategy.training.full import local
from lightrft_strategy.training.mesh import require_rows, rows
from lightrft_strategy.training.meta import materialise
from lightrft_strategy.training.optimiser import (
    OptimiserConfig,
    adamw,
    clipped_step,
    first_not_finite,
    set_precision,
    unscale,
)
from lightrft_strategy.training.ranks import first_fault
from lightrft_strategy.training.slices import slice_layers


@dataclass(frozen=True)
class FullyShard:
    """Holds models in equal shards on all ranks (Zhao et al. 2023, arXiv 2304.11277; ZeRO 3 of arXiv 1910.02054).

    A decoder layer is whole only while it is computed. Weights on the meta device become NaN, to be filled.

    reshard_after_forward: gather a layer again for its backward pass; False keeps it, which costs memory, not time.
    cpu_offload: shards, their gradients and moments live in host memory, where AdamW steps.
    tp_size: so many neighbours compute every micro-batch together, each with a slice of every layer, and hold shards of
    that slice alone; what is outside of layers is whole on each of them while it is computed.
    timeout: how long these wait for one another before they give up; None: as long as torch lets them by default.
    """

    reshard_after_forward: bool = True
    cpu_offload: bool = False
    tp_size: int = 1
    timeout: timedelta | None = None

    def __call__(
        self, module: nn.Module, config: OptimiserConfig | None, dtype: torch.dtype | None, ranks: Ranks
    ) -> Sharded:
        if not dist.is_initialized():
            raise ValueError("shards are held by the processes that torchrun starts: use it, be it for one process")
        require_rows(ranks, self.tp_size)
        return Sharded(module, config, dtype, ranks, self)


class Sharded:
    """A module whose parameters are float32 (or float64) shards: the masters. Gathered, they are in `dtype`.

    After each micro-batch gradients are added up over the ranks, and over micro-batches, in the masters' precision: the
    loss is already its share of the step's loss. A weight that no rank used has a gradient of zero.
    """

    scale = 1.0

    def __init__(
        self,
        module: nn.Module,
        config: OptimiserConfig | None,
        dtype: torch.dtype | None,
        ranks: Ranks,
        options: FullyShard,
    ) -> None:
        self.module, self.config, self.dtype, self.ranks = module, config, dtype, ranks
        if config is None:
            module.requires_grad_(False)
            if dtype is not None:
                set_precision(module, dtype)
        self.exchange = Exchange()
        self.mesh = _mesh(options)
        self.summed = _shard(module, dtype if config else None, options, self.mesh, self.exchange)
        materialise(module, torch.device("cpu") if options.cpu_offload else device())
        module.register_forward_hook(lambda *_: None if torch.is_grad_enabled() else self._reshard())
        self.weights = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        self.masters = {name: nn.Parameter(local(weight)) for name, weight in self.weights.items()}
        if config is not None:
            self.adam = adamw(self.masters, config)

    @torch.no_grad()
    def gathered(self, function: Callable[[], T]) -> T:
        """What function() gives, without gradient, which may call any part of the module."""
        result: T = self.module.call(function)  # type: ignore[operator]
        self._reshard()
        return result

    def backward(self, loss: Tensor) -> None:
        """Add a micro-batch's gradient, of all ranks, to their shards of it."""
        (loss * self.scale).backward()  # type: ignore[no-untyped-call]

    def step(self, learning_rate: float) -> tuple[float, str]:
        """One AdamW step of each rank's shards. Returns (norm of the whole gradient before clipping, why not)."""
        assert self.config is not None
        for name, master in self.masters.items():
            gradient = self.weights[name].grad
            master.grad = torch.zeros_like(master) if gradient is None else local(gradient)
        gradients = {name: master.grad for name, master in self.masters.items() if master.grad is not None}
        unscale(gradients.values(), self.scale)
        self._add_up(gradients)
        counted = [gradient for name, gradient in gradients.items() if self._counts(self.weights[name])]
        mine = float(torch.nn.utils.get_total_norm(counted))
        norm, fault = hypot(*self.ranks.gather([mine])), ""
        if not isfinite(norm):
            fault = self._fault(gradients)
        else:
            clipped_step(self.adam, norm, self.config.max_norm, learning_rate)
        self.clear()
        return nan if fault else norm, fault

    def clear(self) -> None:
        """Forget all gradients."""
        self.exchange.finite = None
        for tensor in [*self.masters.values(), *self.weights.values()]:
            tensor.grad = None

    def movable(self) -> tuple[list[Tensor], list[Tensor]]:
        """The moments alone, of a frozen model nothing: FSDP2 keeps views of its shards, which cannot be moved away."""
        if self.config is None:
            return [], []
        return [value for master in self.masters.values() for value in self.adam.state[master].values()], []

    def state(self) -> dict[str, Tensor]:
        """Masters and moments, sharded alike: see Held."""
        tensors: dict[str, Tensor] = {f"master.{name}": part for name, part in self.named(self.shards()).items()}
        for name, master in self.masters.items():
            for key, value in self.adam.state[master].items():
                tensors[f"adam.{key}.{name}"] = self._like(name, value) if value.ndim else value
        return tensors

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, tensor in self.state().items():
            local(tensor).copy_(local(state[name]))

    def shards(self) -> list[Tensor]:
        """This rank's masters: see Held."""
        return [master.detach() for master in self.masters.values()]

    def named(self, shards: Sequence[Tensor]) -> dict[str, Tensor]:
        """Those very shards, as DTensors, by name."""
        return {name: self._like(name, shard) for name, shard in zip(self.masters, shards, strict=True)}

    @torch.no_grad()
    def fill(self, shards: Sequence[Tensor], named: Mapping[str, Tensor]) -> None:
        """Write what `named` gave once."""
        for name, shard in zip(self.masters, shards, strict=True):
            shard.copy_(local(named[name]))

    def publish(self) -> None:
        """Forget what is gathered of the masters as they were."""
        self._reshard()

    def _add_up(self, gradients: Mapping[str, Tensor]) -> None:
        """Of weights that are whole beside slices, let every rank have the gradient of all ranks that compute them."""
        if self.summed:
            parts = [gradients[name] for name in self.masters if name in self.summed]
            together = torch.cat([part.flatten() for part in parts])
            dist.all_reduce(together, group=self.mesh.get_group("tp"))
            for part, values in zip(parts, torch.split(together, [part.numel() for part in parts]), strict=True):
                part.copy_(values.view_as(part))

    def _counts(self, weight: Tensor) -> bool:
        """Whether this rank's gradient is part of the norm: what several ranks hold alike is the first one's."""
        assert isinstance(weight, DTensor)
        sliced = weight.device_mesh.ndim == 2 and not weight.placements[1].is_replicate()
        return sliced or self.mesh.ndim == 1 or self.mesh.get_local_rank("tp") == 0

    def _like(self, name: str, part: Tensor) -> DTensor:
        """A DTensor laid out as the weight of this name is, of which this is the rank's part."""
        weight = self.weights[name]
        assert isinstance(weight, DTensor)
        mesh, placements = weight.device_mesh, weight.placements
        if mesh.ndim < self.mesh.ndim:
            mesh, placements = self.mesh, (*placements, Replicate())
        return DTensor.from_local(
            part.detach(), mesh, placements, run_check=False, shape=weight.shape, stride=weight.stride()
        )

    def _fault(self, gradients: Mapping[str, Tensor]) -> str:
        """Why the norm is not finite: the first rank whose own gradient was not, and the first weight it reached."""
        names = list(gradients)
        bad = [i for i, gradient in enumerate(gradients.values()) if not gradient.isfinite().all()]
        found = self.ranks.gather(bad[:1])
        fault = first_not_finite({names[i]: torch.tensor(nan) for i in sorted(found)[:1]})
        mine = self.exchange.finite is not None and not bool(self.exchange.finite)
        return first_fault(self.ranks.gather([fault if mine else ""])) or fault

    def _reshard(self) -> None:
        for part in self.module.modules():
            if isinstance(part, FSDPModule):
                part.reshard()


class Exchange:
    """How gradients are added up and dealt out over the ranks (an FSDP2 ReduceScatter), watching this rank's own.

    finite: whether all that this rank has put in was finite; None: nothing yet.
    """

    def __init__(self) -> None:
        self.finite: Tensor | None = None

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Room for one exchange."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> Any:
        extremes = torch.stack(input_tensor.aminmax()).isfinite().all()
        self.finite = extremes if self.finite is None else self.finite & extremes
        return dist.reduce_scatter_tensor(output_tensor, input_tensor, op=op, group=group, async_op=async_op)


def layers(module: nn.Module) -> list[nn.Module]:
    """The repeated layers of the Hugging Face models inside a module, which a Transformers model says not to split.

    Raises ValueError if there are none, naming the models.
    """
    unsplit: set[str] = set()
    for part in module.modules():
        unsplit |= set(getattr(part, "_no_split_modules", None) or ())
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    found = [layer for part in lists for layer in part if type(layer).__name__ in unsplit]
    if not found:
        names = sorted({type(part).__name__ for part in module.modules() if hasattr(part, "_no_split_modules")})
        raise ValueError(
            f"{', '.join(names) or type(module).__name__} has no list of layers to shard one by one (classes named "
            f"in _no_split_modules: {', '.join(sorted(unsplit)) or 'none'}): hold this model whole (ddp)"
        )
    return found


def _mesh(options: FullyShard) -> DeviceMesh:
    """All ranks; or rows of them, the ranks of a column holding shards of what each needs."""
    if options.tp_size == 1:
        return init_device_mesh(device().type, (dist.get_world_size(),))
    return rows(options.tp_size, options.timeout)


def _shard(
    module: nn.Module, dtype: torch.dtype | None, options: FullyShard, ranks: DeviceMesh, exchange: Exchange
) -> frozenset[str]:
    """Slice each layer, then shard it, and what is outside of layers with the module as a whole: see slice_layers."""
    parts, mesh, summed = layers(module), ranks, frozenset[str]()
    if ranks.ndim == 2:
        mesh, summed = ranks["dp"], slice_layers(module, parts, ranks["tp"])
    precision = MixedPrecisionPolicy(dtype, torch.float32 if dtype else None, cast_forward_inputs=False)
    offload = CPUOffloadPolicy(pin_memory=device().type != "cpu") if options.cpu_offload else OffloadPolicy()
    for layer in parts:
        fully_shard(
            layer,
            mesh=mesh,
            reshard_after_forward=options.reshard_after_forward,
            mp_policy=precision,
            offload_policy=offload,
        )
    fully_shard(module, mesh=mesh, mp_policy=precision, offload_policy=offload)
    module.call = _call  # type: ignore[assignment]
    register_fsdp_forward_method(module, "call")
    for part in [*parts, module]:
        assert isinstance(part, FSDPModule)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)
        part.set_reduce_scatter_unused_params(True)
        part.set_custom_reduce_scatter(exchange)  # type: ignore[arg-type]
    return summed


def _call(function: Callable[[], T]) -> T:
    return function()
