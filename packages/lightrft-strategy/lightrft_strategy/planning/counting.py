"""What passes of a model hold and compute: bytes alive, bytes saved, operations; and attention that only counts."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lightrft_strategy.planning.whole_numbers import met

NAME, TOWER = "lightrft_counted", "lightrft_counted_tower"
"""What transformers calls the attention that only counts: that of decoders and that of towers."""

BACKWARD_ATTENTION = 2.5
"""Operations of a fused attention's backward pass, for one of its forward pass (Dao 2023, arXiv 2307.08691, 3.1)."""


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of tensors made within that are still alive, and operations of matrix products.

    known: modules and tensors that were there before; what shares their memory is not new.
    """

    def __init__(self, *known: nn.Module | Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.flops = self._forward = 0
        self._backward: int | None = None
        self._keys = {tensor.untyped_storage()._cdata for tensor in _tensors(*known)}

    @property
    def seeing(self) -> int:
        """Operations that towers_end says are of towers, in both directions."""
        return self._forward + (0 if self._backward is None else self.flops - self._backward)

    def towers_end(self, features: Tensor, before: int) -> None:
        """Towers have made these embeddings since so many operations; behind their gradient only towers' come."""

        def begins(_: Tensor) -> None:
            self._backward = self.flops

        self._forward = self.flops - before
        if features.requires_grad:
            features.register_hook(begins)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = met(func, args, kwargs or {})
        out = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.flops += int(flop_registry[func._overloadpacket](*args, **kwargs, out_val=out))
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


class Saved:
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
    """What a fused attention keeps: queries, keys, values, output and log-sum-exp; no scores (FlashAttention-2).

    mask: what is added to scores, which is kept, too. tower: count operations; the output lies as the queries do.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, tower: bool = False
    ) -> Tensor:
        rows, heads, tokens, width = query.shape
        if tower:
            out = torch.empty_like(query)
        else:
            out = value.new_empty(rows, tokens, heads, value.shape[-1]).transpose(1, 2)
        sums = query.new_empty(rows, heads, tokens, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums, mask)
        ctx.flops = 4 * rows * heads * tokens * key.shape[2] * width if tower else 0
        _computed(ctx.flops)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _computed(int(BACKWARD_ATTENTION * ctx.flops))
        return (*(torch.empty_like(states) for states in ctx.saved_tensors[:3]), None, None)


def _computed(flops: int) -> None:
    for mode in _get_current_dispatch_mode_stack():
        if isinstance(mode, Alive):
            mode.flops += flops


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **others: Any
) -> tuple[Tensor, None]:
    """Where there is a mask, and not the one of packed rows, every head has its keys and values, as in transformers."""
    mask = None
    if attention_mask is not None and attention_mask.numel() > 1:
        mask, heads = query.new_empty(attention_mask.shape), query.shape[1] // key.shape[1]
        key, value = (repeat_kv(states, heads) for states in (key, value))
    attended: Tensor = _Attention.apply(query, key, value, mask)  # type: ignore[no-untyped-call]
    return attended.transpose(1, 2), None


def _attend_in_tower(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **others: Any
) -> tuple[Tensor, None]:
    """Of all tokens to all; a mask becomes numbers of the queries' type, as PyTorch's own attention makes it."""
    mask = None if attention_mask is None else query.new_empty(attention_mask.shape)
    attended: Tensor = _Attention.apply(query, key, value, mask, True)  # type: ignore[no-untyped-call]
    return attended.transpose(1, 2).contiguous(), None


def _tensors(*known: nn.Module | Tensor) -> Iterator[Tensor]:
    for one in known:
        if isinstance(one, Tensor):
            yield one
        else:
            yield from one.parameters()
            yield from one.buffers()


AttentionInterface.register(NAME, _attend)
AttentionInterface.register(TOWER, _attend_in_tower)
AttentionMaskInterface.register(NAME, sdpa_mask)
AttentionMaskInterface.register(TOWER, sdpa_mask)
