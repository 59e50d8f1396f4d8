"""From flags to engines: which backend is opened with what, and what the engine then gets as its own arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from lightrft_apps.config import ConfigError, EngineArgs, ModelArgs
from lightrft_apps.engines import own as engines
from lightrft_apps.engines.own import EngineNeeds, open_engine
from lightrft_apps.models.compose import most_media
from lightrft_apps.models.senses import Senses
from lightrft_core import Prompt, SamplingParams
from lightrft_multimodal.adapters import Family
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.fleet import Fleet
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.engines.vllm import in_process
from lightrft_strategy.engines.vllm.in_process import engine_arguments

NEEDS = EngineNeeds(longest=90, laws=(SamplingParams(), SamplingParams(top_p=0.5)), seed=3)


class Opened:
    """Stands for a backend."""

    name = "stand-in"
    survives = True

    def __init__(self, where: str, kind: str, config: EngineConfig, ends: Sequence[int], url: str | None) -> None:
        self.where, self.kind, self.config, self.ends, self.url = where, kind, config, ends, url
        self.closed = False
        self.cannot: dict[str, str] = {}

    def close(self) -> None:
        self.closed = True


class Words:
    """Stands for a tokenizer."""

    eos_token_id = 7

    def __call__(self, text: str, **_: Any) -> Any:
        return type("Encoded", (), {"input_ids": list(range(40))})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tiny_model: Callable[..., Any]) -> Callable[..., Any]:
    """opened(**flags) -> the backend that these flags open, after its engine has been closed."""
    monkeypatch.setattr(engines, "_in_process", lambda *made_with: Opened("in process", *made_with))
    monkeypatch.setattr(engines, "_server", lambda *made_with: Opened("server", *made_with))
    monkeypatch.delenv("LOCAL_RANK", raising=False)  # DeepSpeed leaves it behind in a process that has used it

    def run(
        *, bf16: bool = False, fp16: bool = False, needs: EngineNeeds = NEEDS, adapter: Any = None, **flags: Any
    ) -> Any:
        args, model = EngineArgs(**{"engine_type": "vllm"} | flags), ModelArgs("folder", bf16=bf16, fp16=fp16)
        silent = {"progress": lambda finished: None, "say": lambda message: None}
        with open_engine(args, model, tiny_model(), Senses(Words(), adapter), needs, **silent) as engine:
            assert isinstance(engine, ServedEngine)
            backend: Any = engine.backend
            backend.source = engine.source
            return backend

    return run


def test_one_engine_on_one_device_lives_in_this_process(opened: Callable[..., Any]) -> None:
    backend = opened(max_num_seqs=9, engine_mem_util=0.25, enforce_eager=True)
    assert (backend.where, backend.kind, backend.url, list(backend.ends)) == ("in process", "vllm", None, [7])
    config = backend.config
    assert (config.model, config.dtype, config.max_model_len, config.seed) == ("folder", "float32", 90, 3)
    assert (config.max_num_seqs, config.mem_util, config.enforce_eager) == (9, 0.25, True)
    assert backend.closed
    assert opened(bf16=True).config.dtype == "bfloat16"
    assert opened(fp16=True).config.dtype == "float16"
    assert opened(engine_type="sglang").kind == "sglang"


@pytest.mark.parametrize("flags", [{"engine_server": True}, {"engine_tp_size": 2}], ids=str)
def test_a_server_is_started_when_asked_for_and_for_several_devices(
    opened: Callable[..., Any], flags: dict[str, Any]
) -> None:
    backend = opened(**flags)
    assert (backend.where, backend.url, backend.config.tp_size) == ("server", None, flags.get("engine_tp_size", 1))


def test_several_engines_are_a_fleet_of_servers_and_all_are_closed(opened: Callable[..., Any]) -> None:
    fleet = opened(vllm_num_engines=3)
    assert isinstance(fleet, Fleet)
    assert [(member.where, member.url, member.closed) for member in fleet.members] == [("server", None, True)] * 3
    assert [member.config.devices for member in fleet.members] == [(0,), (1,), (2,)]
    wide = opened(vllm_num_engines=2, engine_tp_size=2)
    assert [member.config.devices for member in wide.members] == [(0, 1), (2, 3)]
    assert opened(engine_server=True).config.devices == ()
    urls = ("http://10.0.0.1:8000", "http://10.0.0.2:8000")
    attached = opened(engine_url=",".join(urls))
    assert tuple(member.url for member in attached.members) == urls


def test_under_a_launcher_every_process_has_engines_on_devices_of_their_own(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert opened(engine_server=True).config.devices == (3,)
    assert opened(engine_tp_size=2).config.devices == (6, 7)
    assert [member.config.devices for member in opened(vllm_num_engines=2).members] == [(6,), (7,)]


def test_a_law_the_engine_cannot_draw_by_is_refused_before_the_run(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def deficient(*made_with: Any) -> Opened:
        backend = Opened("in process", *made_with)
        backend.cannot = {"top_p": "its log-probabilities leave it out"}
        return backend

    monkeypatch.setattr(engines, "_in_process", deficient)
    with pytest.raises(ConfigError, match="--engine_type vllm: stand-in cannot honour top_p: its log-prob"):
        opened()


class Eyes:
    """Stands for an adapter."""

    placeholders = (5,)
    towers: ClassVar[dict[str, tuple[str, ...]]] = {"image": ("model",), "video": ("model",)}
    family = Family(lambda: None, (), lambda config: {}, engine_names={"model.": "other."})


def test_an_engine_is_told_of_the_most_media_and_given_weights_by_the_names_it_knows(
    opened: Callable[..., Any],
) -> None:
    backend = opened(adapter=Eyes(), needs=replace(NEEDS, media={"image": 3}))
    assert backend.config.media == {"image": 3, "video": 0}
    assert {published.names[0].split(".")[0] for published in backend.source.tensors()} == {"other", "lm_head"}
    assert opened().config.media == {}


def test_videos_that_a_server_would_read_otherwise_are_refused_before_it_starts(opened: Callable[..., Any]) -> None:
    filmed = {"adapter": Eyes(), "needs": replace(NEEDS, media={"video": 1})}
    assert opened(**filmed).where == "in process"
    for flags in ({"engine_server": True}, {"vllm_num_engines": 2}, {"engine_url": "http://a:1"}):
        with pytest.raises(ConfigError, match="cannot be given the videos of the prompts"):
            opened(**filmed, **flags)


def test_the_most_media_of_any_prompt_are_counted_by_modality() -> None:
    class Medium:
        def __init__(self, modality: str) -> None:
            self.modality = self.sha256 = modality

    def prompt(*modalities: str) -> Prompt:
        return Prompt("row", (), "", (1,), media=tuple(map(Medium, modalities)))

    sources = [[prompt("image", "video", "image"), prompt()], [], [prompt("image", "audio")]]
    assert most_media(sources) == {"image": 2, "video": 1, "audio": 1}
    assert most_media([]) == {}


def test_a_missing_package_is_said_with_its_extra(opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*made_with: Any) -> Any:
        raise ImportError("vLLM is not installed: uv sync --extra vllm")

    monkeypatch.setattr(engines, "_in_process", missing)
    with pytest.raises(ConfigError, match="uv sync --extra vllm"):
        opened()


def config(**changes: Any) -> EngineConfig:
    return EngineConfig(**{"model": "folder", "dtype": "bfloat16", "max_model_len": 300, "seed": 5} | changes)


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "device", lambda: torch.device("meta"))


@pytest.mark.usefixtures("accelerator")
def test_vllm_gets_devices_memory_sleep_and_eight_bit_weights_as_its_own_arguments() -> None:
    arguments = engine_arguments(config(tp_size=4, mem_util=0.3, fp8=True))
    assert arguments["tensor_parallel_size"] == 4
    assert arguments["gpu_memory_utilization"] == 0.3
    assert arguments["enable_sleep_mode"] is True
    assert (arguments["quantization"], arguments["dtype"]) == ("fp8", "bfloat16")
    assert engine_arguments(config(enable_sleep=False))["enable_sleep_mode"] is False
    assert engine_arguments(config())["quantization"] is None
    assert "enable_chunked_prefill" not in arguments, "a GPU's generators can be set back"


def test_on_the_cpu_prompts_come_in_one_piece_and_the_cache_fits_the_answers(
    tmp_path: Path, tiny_model: Callable[..., Any]
) -> None:
    tiny_model().save_pretrained(tmp_path)
    arguments = engine_arguments(config(model=str(tmp_path), max_num_seqs=10))
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] >= 300
    per_token = 2 * 2 * 2 * 16 * 2
    assert 10 * 300 * per_token <= arguments["kv_cache_memory_bytes"] <= 20 * 600 * per_token


@pytest.mark.usefixtures("accelerator")
def test_vllm_gets_the_most_media_of_a_prompt_and_a_text_model_none() -> None:
    from lightrft_strategy.engines.vllm.server import command

    media = {"image": 2, "video": 0}
    assert engine_arguments(config(media=media))["limit_mm_per_prompt"] == media
    words = command(config(media=media), 1)
    assert json.loads(words[words.index("--limit-mm-per-prompt") + 1]) == media
    assert "limit_mm_per_prompt" not in engine_arguments(config())
