"""What each way of holding a model keeps on a rank, and what it adds while the model is computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lightrft_strategy.planning.subject import Pass, Subject, Weights
from lightrft_strategy.planning.workload import MicroBatch
from lightrft_strategy.training.whole import BUCKET_BYTES

MASTER = 4
"""Bytes of a number that is kept in float32."""

ZERO_BUCKET = 500_000_000
"""Numbers in the buffer DeepSpeed collects gradients in (its default reduce_bucket_size); allocated whole."""

ZERO_LIVE = 1_000_000_000
"""Numbers of gathered weights ZeRO 3 keeps at once (its defaults of max_live_parameters and max_reuse_distance)."""


@dataclass(frozen=True)
class Holding:
    """kind: as the flags say: none of them, --fsdp, --zero_stage. ranks: all there are.

    tp: so many neighbours hold slices of the same layers.
    offload: what is in shards lies in host memory (fsdp: all of it; zero: masters and moments).
    reshard: with fsdp, a layer's weights are given back between forward and backward.
    lazy: memory that nothing has written to costs nothing, as on the CPU.
    average: a moving average of the policy's weights is kept.
    """

    kind: Literal["whole", "fsdp", "zero"] = "whole"
    ranks: int = 1
    stage: int = 0
    offload: bool = False
    reshard: bool = True
    overlap: bool = False
    lazy: bool = False
    average: bool = False
    tp: int = 1

    @property
    def sharers(self) -> int:
        """Ranks that hold the same, and may share it."""
        return self.ranks // self.tp

    @property
    def in_shards(self) -> bool:
        """Whether weights are gathered to be computed with."""
        return self.kind == "fsdp" or self.stage == 3

    @property
    def in_parts(self) -> bool:
        """Whether no rank has all weights."""
        return self.in_shards or self.tp > 1

    @property
    def whole_gradients(self) -> bool:
        """Whether a rank has the gradients of all weights at once."""
        return self.kind == "whole" or self.stage == 1


@dataclass
class Parts:
    """Bytes by what they are for, on the device and in the host's memory beside it."""

    device: dict[str, int] = field(default_factory=dict)
    host: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, size: float, *, host: bool = False) -> None:
        """Count more of something; nothing of it leaves no trace."""
        place = self.host if host else self.device
        if size:
            place[name] = place.get(name, 0) + int(size)

    @property
    def total(self) -> int:
        return sum(self.device.values())


def keep(subject: Subject, holding: Holding, *, learns: bool, name: str, parts: Parts) -> None:
    """What a model takes whatever is done with it: weights, and if it learns masters, moments, ZeRO's buffers."""
    weights, size, ranks = subject.slice(holding.tp).weights, subject.itemsize, holding.sharers
    if not learns:
        share = ranks if holding.in_shards else 1
        held_by_fsdp = holding.kind == "fsdp" and holding.offload
        parts.add(f"{name} weights", weights.bytes(size) / share, host=held_by_fsdp)
        parts.add(f"{name} weights", size * weights.small if holding.stage == 3 else 0)
        return
    moments = 2 * MASTER * weights.trained
    if holding.average and name == "policy":
        share = 1 if holding.kind == "whole" else ranks
        parts.add(f"{name} average (float32)", MASTER * weights.trained / share, host=holding.offload)
    if holding.kind == "whole":
        parts.add(f"{name} weights", weights.bytes(size))
        parts.add(f"{name} masters (float32)", MASTER * weights.trained if size < MASTER else 0)
        parts.add(f"{name} moments (AdamW)", moments)
    elif holding.kind == "fsdp":
        parts.add(f"{name} masters (float32)", MASTER * weights.total / ranks, host=holding.offload)
        parts.add(f"{name} moments (AdamW)", moments / ranks, host=holding.offload)
    else:
        share = ranks if holding.stage == 3 else 1
        parts.add(f"{name} weights", weights.bytes(size) / share + (size * weights.small if share > 1 else 0))
        parts.add(f"{name} masters (float32)", MASTER * weights.trained / ranks, host=holding.offload)
        parts.add(f"{name} moments (AdamW)", moments / ranks, host=holding.offload)
        parts.add("gradients (float32 sums)", _standing_sums(weights, holding, size), host=holding.offload)
        parts.add("exchange buffer of ZeRO", _zero_buffer(weights, holding, size))


def gathered(weights: Weights, holding: Holding, itemsize: int, *, learns: bool) -> int:
    """Weights brought together while a model in shards is computed: what is in no layer, a layer, and the next."""
    if holding.kind == "fsdp" and learns and not holding.reshard:
        return itemsize * (weights.total + weights.layer)
    if holding.kind == "fsdp":
        return itemsize * min(weights.total + weights.layer, weights.outside + 2 * weights.layer)
    if holding.stage == 3:
        return itemsize * min(weights.total, ZERO_LIVE)
    return 0


def learn(subject: Subject, holding: Holding, largest: MicroBatch, micro_batches: int, parts: Parts) -> None:
    """What learning from the largest micro-batch adds to what is kept, at its worst moment: backward pass or step."""
    subject = subject.slice(holding.tp)
    weights, size, ranks = subject.weights, subject.itemsize, holding.sharers
    sums, standing = MASTER * weights.trained, _standing_sums(weights, holding, size)
    one = subject.training(largest.tokens, largest.scored, largest.prompts, largest.rows, keep=holding.whole_gradients)
    if holding.whole_gradients:
        before = sums if micro_batches > 1 and not standing else 0
        backward = before + one.peak
        step = sums - standing + (min(sums, BUCKET_BYTES) if ranks > 1 else 0)
        if step > backward:
            parts.add("gradients (float32 sums)", sums - standing)
            parts.add("buffers of the step", step - (sums - standing))
            return
        parts.add("gradients (float32 sums)", before)
        _pass(one, 0, parts)
        return
    parts.add("gradients (float32 sums)", sums / ranks - standing, host=holding.offload)
    parts.add("gathered weights", gathered(weights, holding, size, learns=True))
    if holding.kind == "fsdp":
        # What is in no layer keeps its gradient to the end; a layer's is exchanged in float32 as it comes.
        layer = min(weights.layer, weights.trained)
        outside = min(weights.outside, weights.trained)
        exchanged = size * (layer + outside) + MASTER * max(layer, outside if not weights.layers else 0)
        _pass(one, exchanged, parts)
    elif holding.stage == 2:
        _pass(one, MASTER * min(ZERO_BUCKET, weights.trained), parts)
    else:
        _pass(one, 0, parts)


def _pass(one: Pass, exchanged: int, parts: Parts) -> None:
    scoring = min(one.scoring, max(0, one.peak - one.saved))
    parts.add("activations", one.saved)
    parts.add("log-probabilities, in chunks", scoring)
    parts.add("other buffers and gradients of the pass", one.peak - one.saved - scoring + exchanged)


def _standing_sums(weights: Weights, holding: Holding, itemsize: int) -> int:
    """Sums of gradients that DeepSpeed keeps from the beginning: at stage 3, and below float32 at stage 1, all."""
    if holding.stage == 3:
        return MASTER * weights.trained // holding.sharers
    return MASTER * weights.trained if holding.stage == 1 and itemsize < MASTER else 0


def _zero_buffer(weights: Weights, holding: Holding, itemsize: int) -> int:
    """What DeepSpeed collects gradients in: float32, at stage 2 the precision computed in; two if they overlap.

    Below float32, stage 1 is another optimiser of DeepSpeed's, which has none.
    """
    if holding.stage == 1 and itemsize < MASTER:
        return 0
    numbers = min(ZERO_BUCKET, weights.trained) if holding.lazy else ZERO_BUCKET
    size = itemsize if holding.stage == 2 else MASTER
    return numbers * size * (2 if holding.overlap and holding.stage == 2 else 1)
