"""What a run tells its sampling engine, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class EngineConfig:
    """model: folder or hub id. max_model_len: longest prompt with its answer, in tokens.

    tp_size: devices one engine's weights are spread over. num_engines: engines that share the prompts.
    mem_util: share of a device's memory the engine may take for weights and cache. max_num_seqs: answers side by side.
    url: servers that run already, and are not ours to start or stop; () to start our own.
    devices: which of this machine's accelerators a server of ours may use; () all.
    sync_backend: how weights travel to servers; "auto" is shared memory on one machine.
    timeout: seconds to wait for a start, a hand-over or an answer that does not progress.
    media: of a model that sees or hears, by modality, the most that any prompt has.
    """

    model: str
    dtype: str
    max_model_len: int
    seed: int
    tp_size: int = 1
    num_engines: int = 1
    mem_util: float = 0.5
    max_num_seqs: int = 256
    enable_prefix_caching: bool = True
    enforce_eager: bool = False
    enable_sleep: bool = True
    fp8: bool = False
    url: tuple[str, ...] = ()
    devices: tuple[int, ...] = ()
    sync_backend: str = "auto"
    trust_remote_code: bool = False
    timeout: float = 600.0
    media: Mapping[str, int] = field(default_factory=dict[str, int])
