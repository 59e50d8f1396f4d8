"""SglangInProcess over a stand-in for sglang.Engine, whose calls are checked against SGLang's own signatures."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sglang
import torch
from sglang.srt.managers.io_struct import GenerateReqInput
from sglang.srt.managers.tokenizer_manager import TokenizerManager
from sglang.srt.model_executor.model_runner_components import weight_updater
from sglang.srt.server_args import ServerArgs
from sglang.srt.utils import MultiprocessingSerializer
from sglang.srt.utils.common import normalize_serialized_named_tensor_payloads

from lightrft_core import SamplingParams
from lightrft_strategy.engines.backend import Completion, Request
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.sglang import in_process
from lightrft_strategy.engines.sglang.arguments import LOADER
from lightrft_strategy.engines.sglang.in_process import SglangInProcess
from lightrft_strategy.engines.sync.fingerprint import fingerprint
from lightrft_strategy.engines.sync.published import ModelWeights
from lightrft_strategy.engines.sync.receipt import check_arrival


class Manager:
    """Stands for the tokenizer manager and the scheduler behind it; weights go through SGLang's own WeightUpdater."""

    def __init__(self, model: Any) -> None:
        parameters = dict(model.named_parameters())
        model.load_weights = lambda named: [parameters[name].data.copy_(tensor) for name, tensor in named]
        self.model, self.calls = model, list[str]()
        self.updater = weight_updater.WeightUpdater(
            tp_rank=0,
            device="cpu",
            gpu_id=0,
            model_config=None,
            custom_weight_loaders=[LOADER],
            get_model=lambda: model,
            update_model_fields=lambda: None,
            recapture_cuda_graph=lambda: None,
            get_model_runner=lambda: None,
        )

    async def generate_request(self, obj: GenerateReqInput, request: None) -> AsyncIterator[dict[str, Any]]:
        inspect.signature(TokenizerManager.generate_request).bind(self, obj, request)
        obj.normalize_batch_and_arguments()
        token = obj.input_ids[0]
        yield {
            "output_ids": [token],
            "meta_info": {
                "finish_reason": {"type": "length", "length": 1},
                "output_token_logprobs": [[-0.5, token, None]],
                "output_token_sampling_logprobs": [-0.25],
            },
        }

    def __getattr__(self, name: str) -> Any:
        """A control method that TokenizerManager has too, with its signature."""
        signature = inspect.signature(getattr(TokenizerManager, name))

        async def call(*arguments: Any) -> Any:
            signature.bind(self, *arguments)
            self.calls.append(name)
            if name == "update_weights_from_tensor":
                (payload,) = normalize_serialized_named_tensor_payloads(arguments[0].serialized_named_tensors)
                return self.updater.update_weights_from_tensor(
                    MultiprocessingSerializer.deserialize(payload), arguments[0].load_format
                )
            return (True, "Success") if "weight_update" in name else None

        return call


@pytest.fixture
def engine(config: EngineConfig, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SglangInProcess]:
    def build(**arguments: Any) -> Any:
        ServerArgs(**arguments)
        manager = Manager(tiny_model(seed=9, max_position_embeddings=64))
        return SimpleNamespace(loop=asyncio.new_event_loop(), tokenizer_manager=manager, shutdown=lambda: None)

    monkeypatch.setattr(sglang, "Engine", build)
    monkeypatch.setattr(in_process, "need_accelerator", lambda: None)
    monkeypatch.setattr(weight_updater, "get_parallel", lambda: SimpleNamespace(tp_rank=0))
    monkeypatch.setattr(weight_updater, "get_model", lambda: SimpleNamespace(weight_cache_mode="off"))
    yield SglangInProcess(config, [2])


def test_answers_and_refusals(engine: SglangInProcess) -> None:
    came: dict[int, Completion] = {}
    laws = [SamplingParams(max_new_tokens=1), SamplingParams(max_new_tokens=1, top_k=3)]
    requests = [Request((5,), laws[0], 1), Request((), laws[0], 1), Request((6,), laws[1], 1)]
    engine.complete(requests, came.__setitem__)
    assert [came[i].logprobs for i in range(3)] == [[-0.5], [], [-0.25]]
    assert "cannot be empty" in came[1].error


def test_weights_go_through_sglangs_own_updater(engine: SglangInProcess, policy: Any) -> None:
    tensors = list(ModelWeights(policy).tensors())
    received = engine.receive(3, tensors)
    check_arrival(3, {p.names[0]: fingerprint(p.tensor) for p in tensors}, received)
    manager = engine.engine.tokenizer_manager
    theirs = manager.model.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in policy.state_dict().items())
    assert (manager.calls[0], manager.calls[-1]) == ("begin_weight_update", "end_weight_update")


def test_sleep_and_wake(engine: SglangInProcess) -> None:
    engine.sleep()
    engine.wake("weights")
    engine.wake("cache")
    assert engine.engine.tokenizer_manager.calls == [
        "release_memory_occupation",
        "resume_memory_occupation",
        "resume_memory_occupation",
    ]
    with pytest.raises(RuntimeError, match="cannot be restarted"):
        engine.restart()
    engine.close()
