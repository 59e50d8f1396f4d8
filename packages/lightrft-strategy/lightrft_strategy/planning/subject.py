"""A model without memory, on the meta device: what its passes would hold and compute, counted rather than estimated."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lightrft_core import chosen_logprobs
from lightrft_strategy.engines.footprint import kv_bytes_per_token
from lightrft_strategy.four_bit import fits
from lightrft_strategy.language import LanguageActor, LanguageCritic, without_dropout
from lightrft_strategy.training.fsdp2 import layers
from lightrft_strategy.training.optimiser import set_precision

NAME = "lightrft_counted"
"""What transformers calls the attention that only counts."""

FOUR_BIT_BYTES = 4.127 / 8
"""Of a weight in 4-bit normal floats with double quantisation (Dettmers et al. 2023, arXiv 2305.14314, section 3)."""

META = torch.device("meta")


def empty_model(pretrain: str | Path, *, trust_remote_code: bool = False) -> Any:
    """A causal language model from its configuration alone, float32, on the meta device; no weight is read.

    Raises OSError or ValueError if there is no configuration of such a model.
    """
    config = AutoConfig.from_pretrained(pretrain, trust_remote_code=trust_remote_code)
    with META:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=trust_remote_code)
    return without_dropout(model)


@dataclass(frozen=True)
class Weights:
    """Numbers of a model. trained: of total. layer: in the largest layer that shards are gathered by, of `layers`.

    outside: in no such layer. largest: in one tensor. small: in tensors of up to 100 000. table: in an embedding table
    that is no head. quantised: of total, in 4 bits.
    """

    total: int
    trained: int
    layer: int
    layers: int
    outside: int
    largest: int
    small: int
    table: int
    quantised: int = 0

    def bytes(self, itemsize: int) -> int:
        """Of all, those not quantised at itemsize each."""
        return int((self.total - self.quantised) * itemsize + self.quantised * FOUR_BIT_BYTES)


@dataclass(frozen=True)
class Pass:
    """One micro-batch. peak: most bytes alive at once besides weights. saved: kept by autograd for the backward pass.

    scoring: most bytes alive in the log-probabilities alone. flops: of matrix products, those of attention left out.
    """

    peak: int
    saved: int
    scoring: int
    flops: int


class Subject:
    """A policy, critic or frozen scorer whose parameters are on the meta device.

    dtype: what it is computed in. four_bit: hold its linear layers, but not its head, in 4 bits.
    """

    def __init__(self, module: LanguageActor | LanguageCritic, dtype: torch.dtype, *, four_bit: bool = False) -> None:
        self.module: LanguageActor | LanguageCritic = module.to(META)
        self.dtype, self.itemsize, self.config = dtype, dtype.itemsize, module.model.config.get_text_config()
        self.weights = _weights(module, four_bit)
        set_precision(module, dtype)
        module.model.config._attn_implementation = NAME
        self._passes: dict[tuple[object, ...], Pass] = {}

    @property
    def kv_bytes(self) -> int:
        """Of one token's keys and values."""
        return kv_bytes_per_token(self.config, self.itemsize)

    @property
    def vocabulary(self) -> int:
        return int(self.config.vocab_size)

    @property
    def attention_flops(self) -> float:
        """Of a forward pass, for each pair of a token and one it sees: a score and a weighed value in every head."""
        width = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        return float(4 * self.config.num_hidden_layers * self.config.num_attention_heads * width)

    @property
    def checkpointed(self) -> bool:
        return bool(self.module.model.is_gradient_checkpointing)

    def forward(self, tokens: int, scored: int) -> Pass:
        """A pass without gradient over one row of tokens, of which so many are scored."""
        return self._cached(("forward", tokens, scored), lambda: self._forward(tokens, scored))

    def training(self, tokens: int, scored: int, *, keep: bool) -> Pass:
        """A forward and a backward pass. keep: gradients stay with their parameters; else each is gone at once."""
        return self._cached(("training", tokens, scored, keep), lambda: self._training(tokens, scored, keep))

    def _cached(self, key: tuple[object, ...], measure: Callable[[], Pass]) -> Pass:
        if key not in self._passes:
            self._passes[key] = measure()
        return self._passes[key]

    @torch.no_grad()
    def _forward(self, tokens: int, scored: int) -> Pass:
        with _Alive(self.module) as alive:
            self._output(tokens, scored)
        return Pass(alive.peak, 0, 0, alive.flops)

    def _training(self, tokens: int, scored: int, keep: bool) -> Pass:
        handles = [] if keep else [_forgetful(parameter) for parameter in _trained(self.module)]
        saved, scoring = _Saved(self.module), self._scoring(scored)
        try:
            with _Alive(self.module) as alive:
                with saved.noted():
                    loss = self._output(tokens, scored).sum()
                held = saved.bytes
                loss.backward()  # type: ignore[no-untyped-call]
        finally:
            for handle in handles:
                handle.remove()
            self.module.zero_grad()
        return Pass(alive.peak, held, scoring, alive.flops)

    def _scoring(self, scored: int) -> int:
        hidden = torch.empty(scored, self.config.hidden_size, dtype=self._dtype, device=META, requires_grad=True)
        with _Alive(self.module, hidden) as alive:
            self._scores(hidden).sum().backward()  # type: ignore[no-untyped-call]
        self.module.zero_grad()
        return int(alive.peak)

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.module.model.get_input_embeddings().weight.dtype
        return dtype

    def _output(self, tokens: int, scored: int) -> Tensor:
        hidden: Tensor = self.module.model.base_model(
            input_ids=torch.zeros(1, tokens, dtype=torch.long, device=META),
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=META),
            position_ids=torch.arange(tokens, device=META)[None],
            use_cache=False,
        ).last_hidden_state[0]
        return self._scores(hidden.index_select(0, torch.zeros(scored, dtype=torch.long, device=META)))

    def _scores(self, hidden: Tensor) -> Tensor:
        """[tokens], as LanguageActor and LanguageCritic compute them from hidden states."""
        if isinstance(self.module, LanguageCritic):
            head = self.module.value_head
            return linear(hidden.float(), head.weight.float(), head.bias.float())[:, 0]
        ids = torch.zeros(len(hidden), dtype=torch.long, device=META)
        head_weight = self.module.model.get_output_embeddings().weight
        return chosen_logprobs(hidden, head_weight, ids, temperature=self.module.temperature)[0]


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of tensors made within that are still alive, and operations of matrix products.

    known: modules and tensors that were there before; what shares their memory is not new.
    """

    def __init__(self, *known: nn.Module | Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.flops = 0
        self._keys = {tensor.untyped_storage()._cdata for tensor in _tensors(*known)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.flops += int(flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._keys:
            self._keys.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._keys.discard(key)
        self.now -= size


class _Saved:
    """What autograd keeps for the backward pass: each piece of memory once, parameters left out."""

    def __init__(self, module: nn.Module) -> None:
        self._weights = {tensor.untyped_storage()._cdata for tensor in _tensors(module)}
        self._sizes: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        return sum(self._sizes.values())

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what is saved within."""
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
            yield

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._weights:
            self._sizes[storage._cdata] = storage.nbytes()
        return tensor


class _Attention(torch.autograd.Function):
    """What a fused attention keeps: queries, keys, values, output and log-sum-exp; no scores (FlashAttention-2)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rows, heads, tokens, _ = query.shape
        out = value.new_empty(rows, tokens, heads, value.shape[-1]).transpose(1, 2)
        sums = query.new_empty(rows, heads, tokens, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(states) for states in ctx.saved_tensors[:3])


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **others: Any
) -> tuple[Tensor, None]:
    attended: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return attended.transpose(1, 2), None


def _forgetful(parameter: Tensor) -> Any:
    """Let a parameter lose each gradient as it comes, until the handle that is returned is removed."""
    return parameter.register_post_accumulate_grad_hook(_drop)  # type: ignore[no-untyped-call]


def _drop(parameter: Tensor) -> None:
    parameter.grad = None


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _tensors(*known: nn.Module | Tensor) -> Iterator[Tensor]:
    for one in known:
        if isinstance(one, Tensor):
            yield one
        else:
            yield from one.parameters()
            yield from one.buffers()


def _weights(module: LanguageActor | LanguageCritic, four_bit: bool) -> Weights:
    sizes = [parameter.numel() for parameter in module.parameters()]
    try:
        inside = [sum(p.numel() for p in layer.parameters()) for layer in layers(module)]
    except ValueError:
        inside = []
    head = getattr(module.model, "get_output_embeddings", lambda: None)()
    table = module.model.get_input_embeddings().weight
    tied = head is not None and head.weight is table
    frozen = [m for m in module.modules() if fits(m, head) and not m.get_parameter("weight").requires_grad]
    return Weights(
        total=sum(sizes),
        trained=sum(parameter.numel() for parameter in _trained(module)),
        layer=max(inside, default=0),
        layers=len(inside),
        outside=sum(sizes) - sum(inside),
        largest=max(sizes),
        small=sum(size for size in sizes if size <= 100_000),
        table=0 if tied else table.numel(),
        quantised=sum(layer.get_parameter("weight").numel() for layer in frozen) if four_bit else 0,
    )


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
