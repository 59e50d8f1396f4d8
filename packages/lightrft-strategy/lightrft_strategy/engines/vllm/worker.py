"""What LightRFT adds to a vLLM worker, through vLLM's own `worker_extension_cls`: taking weights and saying which."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from vllm.config import set_current_vllm_config
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from lightrft_strategy.engines.sync.broadcast import Channel
from lightrft_strategy.engines.sync.buckets import from_json, view
from lightrft_strategy.engines.sync.fingerprint import fingerprint
from lightrft_strategy.engines.sync.shared_memory import mapped
from lightrft_strategy.engines.vllm import loader as loader  # registers itself with vLLM


class WeightReceiver:
    """Mixed into the worker by vLLM. Arguments are text and numbers, as far as a route can carry no more.

    A hand-over is begin_weights, then any number of receive_* calls, then finish_weights.
    """

    rank: int
    vllm_config: Any
    model_config: Any
    model_runner: Any

    def begin_weights(self, version: str) -> None:
        """Open the model for new weights in checkpoint format; vLLM quantises and packs them layer by layer again."""
        self._version, self._fingerprints, self._loaded = int(version), dict[str, str](), set[str]()
        self._seconds = 0.0
        model = self.model_runner.get_model()
        with set_current_vllm_config(self.vllm_config):
            initialize_layerwise_reload(model)
        self._expected = {name for name, _ in model.named_parameters()}

    def receive_direct(self, tensors: Sequence[tuple[Sequence[str], Tensor]]) -> None:
        """Take tensors, each with all its names, that lie in this very process."""
        self._load(tensors)

    def receive_shared(self, path: str, packing: str) -> None:
        """Take a bucket from memory that the trainer shares with this process."""
        buffer = mapped(path)
        self._load([(slot.names, view(slot, buffer).clone()) for slot in from_json(packing)])

    def join_channel(self, host: str, port: str, first_rank: str, world_size: str, backend: str, seconds: str) -> None:
        """Meet the trainer, as the worker of this rank after first_rank, in a group to broadcast through."""
        rank = int(first_rank) + self.rank
        self._channel = Channel(host, int(port), rank, int(world_size), backend, float(seconds))

    def receive_broadcast(self, size: str, packing: str) -> None:
        """Take a bucket of so many bytes from the group joined before."""
        buffer = self._channel.take(int(size))
        self._load([(slot.names, view(slot, buffer)) for slot in from_json(packing)])

    def finish_weights(self) -> dict[str, Any]:
        """Close the model again. Returns what a Received holds."""
        model = self.model_runner.get_model()
        with set_current_vllm_config(self.vllm_config):
            finalize_layerwise_reload(model, self.model_config)
        self.model_runner.reset_lora_state()
        missing = sorted(self._expected - self._loaded)
        fingerprints = {"fingerprints": self._fingerprints, "fingerprint_seconds": self._seconds}
        return {"version": self._version, "missing": missing} | fingerprints

    def _load(self, tensors: Sequence[tuple[Sequence[str], Tensor]]) -> None:
        start = time.perf_counter()
        self._fingerprints |= {names[0]: fingerprint(tensor) for names, tensor in tensors}
        self._seconds += time.perf_counter() - start

        def by_name() -> Iterator[tuple[str, Tensor]]:
            """A tied tensor goes by each of its names, because vLLM packs each of its uses apart."""
            for names, tensor in tensors:
                yield from ((name, tensor) for name in names)

        with set_current_vllm_config(self.vllm_config):
            loaded = self.model_runner.get_model().load_weights(by_name())
        self._loaded |= loaded or set()
