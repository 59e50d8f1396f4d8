from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from sglang.srt.arg_groups.overrides import resolving_view
from sglang.srt.server_args import ServerArgs, prepare_server_args

from lightrft_strategy.engines.backend import EngineDied
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.sglang import server
from lightrft_strategy.engines.sglang.arguments import LOADER, SPARE, command_line, engine_arguments
from lightrft_strategy.engines.sglang.in_process import SglangInProcess
from lightrft_strategy.engines.sglang.server import SglangServer

no_gpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has a GPU")


def resolved(config: EngineConfig) -> Any:
    """What SGLang makes of our arguments for a CUDA device."""
    args = ServerArgs(**engine_arguments(config), device="cuda")
    args.resolve_once()
    return resolving_view(args)


def test_every_setting_takes_effect(config: EngineConfig) -> None:
    view = resolved(config)
    assert view.context_length == config.max_model_len + SPARE
    assert (view.tp_size, view.mem_fraction_static, view.max_running_requests) == (1, 0.5, 8)
    assert (view.random_seed, view.dtype, view.load_format, view.quantization) == (5, "float32", "dummy", None)
    assert (view.enable_deterministic_inference, view.sampling_backend) == (True, "pytorch")
    assert (view.disable_radix_cache, view.enable_memory_saver) == (False, True)
    assert view.custom_weight_loader == [LOADER]


def test_what_a_run_switches_off_or_on(config: EngineConfig) -> None:
    view = resolved(
        replace(config, enable_prefix_caching=False, enable_sleep=False, enforce_eager=True, fp8=True, dtype="bfloat16")
    )
    assert (view.disable_radix_cache, view.enable_memory_saver) == (True, False)
    assert (view.quantization, view.load_format) == ("fp8", "flash_rl")
    assert {view.cuda_graph_config.decode.backend, view.cuda_graph_config.prefill.backend} == {"disabled"}


@pytest.mark.parametrize("eager", [False, True])
def test_the_command_line_says_the_same(config: EngineConfig, eager: bool) -> None:
    config = replace(config, enforce_eager=eager, trust_remote_code=True, fp8=True)
    parsed = prepare_server_args(command_line(config))
    assert {name: getattr(parsed, name) for name in engine_arguments(config)} == engine_arguments(config)


@no_gpu
def test_without_a_gpu_there_is_a_plain_word(config: EngineConfig) -> None:
    with pytest.raises(RuntimeError, match="no kernels for a CPU: use --engine_type vllm or embedded"):
        SglangInProcess(config, [2])
    with pytest.raises(RuntimeError, match="no kernels for a CPU"):
        SglangServer(config, [2])


@no_gpu
def test_the_real_server_reads_our_command_and_dies_here_without_the_key_in_its_log(
    config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []
    monkeypatch.setattr(server, "need_accelerator", lambda: None)
    monkeypatch.setattr(server.secrets, "token_hex", lambda size: keys.append("5ec7e7" * 10) or keys[-1])
    with pytest.raises(EngineDied, match="No accelerator") as died:
        SglangServer(config, [2])
    assert keys and keys[0] not in str(died.value)
