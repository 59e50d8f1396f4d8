"""What samples the answers, and where it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from lightrft_apps.config.reading.schema import or_of_others

Own = Literal["embedded", "vllm", "sglang"]
ENGINES: tuple[str, ...] = get_args(Own)

GROUP = "lightrft.engines"
"""Entry points of other packages: a name and what opens an engine (any_engine.OpenEngine)."""


@dataclass(frozen=True)
class EngineArgs:
    """The sampling engine"""

    engine_type: str = field(default="embedded", metadata=or_of_others(Own, GROUP))
    """what samples: embedded, the trainer's own model; or an engine beside it, which needs its extra installed"""
    engine_server: bool = False
    """run the engine as a server, a process of its own, instead of inside the trainer"""
    engine_url: str | None = None
    """servers of this engine_type that run already, separated by commas, such as http://127.0.0.1:8000"""
    engine_tp_size: int = 1
    """devices that the weights of one engine are spread over; above 1: in a server"""
    engine_mem_util: float = 0.5
    """share of a device's memory for the engine's weights and its keys and values"""
    enable_engine_sleep: bool = True
    """let the engine give its memory back while the trainer learns (off: --disable_engine_sleep)"""
    fp8_rollout: bool = False
    """sample in 8-bit floating point; brings enable_vllm_is_correction unless another correction is there"""
    enable_prefix_caching: bool = True
    """keep keys and values of prompts for their other answers"""
    enforce_eager: bool = False
    """sample without compiled graphs: starts sooner, samples slower"""
    max_num_seqs: int = 256
    """answers sampled side by side in one engine"""
    vllm_num_engines: int = 1
    """engines, of either type, that share the prompts; above 1: in servers"""
    vllm_sync_backend: Literal["auto", "shared_memory", "gloo", "nccl"] = "auto"
    """how weights travel to servers, of either type; auto: shared memory on one machine"""
    engine_timeout: float = 600.0
    """seconds to wait for an engine that makes no progress"""
