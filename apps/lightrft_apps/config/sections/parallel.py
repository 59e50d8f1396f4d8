"""How the run is spread over processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RanksArgs:
    """Several processes (lightrft launch, torchrun)"""

    fsdp: bool = False
    """hold weights, gradients and moments in shards, by PyTorch's FSDP2; default: every process holds all"""
    fsdp_offload: bool = False
    """with --fsdp: keep the shards in CPU memory and bring them to the device layer by layer"""
    fsdp_reshard: bool = True
    """with --fsdp: give a layer's weights back between forward and backward: less memory, more traffic"""
    zero_stage: Literal[1, 2, 3] | None = None
    """hold moments (1), gradients too (2), weights too (3) in shards, by DeepSpeed"""
    adam_offload: bool = False
    """with --zero_stage: keep the moments in CPU memory and step there"""
    overlap_comm: bool = False
    """with --zero_stage: exchange gradients while the backward pass goes on"""
    strategy: str | None = None
    """another package's way to hold models, whole on every process: an entry point of lightrft.strategies"""
    tp_size: int = 1
    """with --fsdp or --zero_stage 1|2: processes that compute each micro-batch together, a slice of each layer each"""
    sp_size: int = 1
    """processes that compute each packed row together, a slice of its tokens each (Ulysses); needs --packing_samples"""
    ring_attn_size: int = 1
    """the same with keys and values that travel round (Ring Attention): for more processes than there are heads"""
    balance_speeds: bool = False
    """give faster processes more to learn from, by what they were seen to do; such a run cannot be repeated exactly"""
    ranks_timeout: float = 1800.0
    """seconds a process waits for the others before it gives up"""
    stall_timeout: float | None = None
    """seconds in which a process makes no progress, after which the run ends and names it; default: ranks_timeout"""

    @property
    def row_ranks(self) -> int:
        """Processes that compute each packed row together; they do it in one way or the other."""
        return self.sp_size * self.ring_attn_size


@dataclass(frozen=True)
class ParallelArgs(RanksArgs):
    """Several processes (lightrft launch, torchrun)"""

    placement: Literal["resident", "colocate"] = "resident"
    """colocate: moments, the copy sampled from, without --fsdp scoring models leave the accelerator when not needed"""
