"""Engines of every kind over one tiny model, each with the model it must agree with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from lightrft_strategy.engines.backend import Backend
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.engines.sync.probe import Probe
from lightrft_strategy.engines.sync.published import ModelWeights
from lightrft_strategy.engines.sync.receipt import Tolerance

VOCABULARY = 320
EOS = (7, 31, 88)
LONGEST = 128


def spell(rows: list[list[int]]) -> list[str]:
    """What the folder's tokenizer makes of token ids: one letter each."""
    return ["".join(chr(0x100 + token) for token in row) for row in rows]


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Path:
    """A model of random weights, with heads as wide as vLLM's CPU attention needs them, and a letter for each token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("engine_model")
    tokenizer = Tokenizer(models.WordLevel({chr(0x100 + i): i for i in range(VOCABULARY)}, unk_token=chr(0x100)))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=chr(0x100)).save_pretrained(folder)
    tiny_model(
        3,
        hidden_size=256,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=LONGEST,
        initializer_range=0.08,
        tie_word_embeddings=True,
    ).save_pretrained(folder)
    return folder


def engine_config(folder: Path, dtype: str) -> EngineConfig:
    """vLLM over the folder's model."""
    return EngineConfig(
        str(folder), dtype, max_model_len=LONGEST, seed=0, max_num_seqs=32, enforce_eager=True, timeout=420
    )


@pytest.fixture(scope="package")
def starting_server(folder: Path) -> Iterator[Future[Any]]:
    """A server of our own, the one of all tests here: it takes longer to start than they do, and starts beside them."""
    from lightrft_strategy.engines.vllm.server import VllmServer

    with ThreadPoolExecutor(1) as thread:
        server = thread.submit(VllmServer, engine_config(folder, "float32"), EOS, None)
        yield server
        server.result().close()


@pytest.fixture(scope="package")
def vllm_server(starting_server: Future[Any]) -> Any:
    """The server, once it is ready."""
    return starting_server.result()


@pytest.fixture(scope="module", autouse=True)
def begin_with_the_server(request: pytest.FixtureRequest) -> None:
    """Let the server start with the first test of a module that will ask for it."""
    mine = (item for item in request.session.items if item.path == request.path)
    if any("vllm_server" in item.name or "vllm_server" in getattr(item, "fixturenames", ()) for item in mine):
        request.getfixturevalue("starting_server")


@dataclass
class Pair:
    """An engine, the model whose weights it samples with, and how far their log-probabilities may lie apart."""

    engine: EmbeddedEngine | ServedEngine
    model: Any
    mean: float
    largest: float


def open_model(folder: Path, dtype: str) -> Any:
    """The folder's model, as Transformers computes it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()


def backend_of(kind: str, dtype: str, request: pytest.FixtureRequest) -> Backend:
    if kind == "vllm_server":
        server: Backend = request.getfixturevalue("vllm_server")
        return server
    from lightrft_strategy.engines.vllm.in_process import VllmInProcess

    return VllmInProcess(engine_config(request.getfixturevalue("folder"), dtype), EOS)


KINDS = ["embedded-float32", "embedded-bfloat16"]
if find_spec("vllm") is not None:
    KINDS += ["vllm-float32", "vllm-bfloat16", "vllm_server-float32"]
"""Those that can run here: without one of vLLM's extras, the embedded engine alone."""


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, folder: Path) -> Iterator[Pair]:
    """One engine after the other."""
    kind, dtype = request.param.split("-")
    model = open_model(folder, dtype)
    tolerance = Tolerance(1e-4, 1e-4) if dtype == "float32" else Tolerance(0.02, 0.5)
    if kind == "embedded":
        engine = EmbeddedEngine(model, spell, eos_token_ids=EOS, seed=5)
        yield Pair(engine, model, tolerance.mean, tolerance.largest)
        return
    backend = backend_of(kind, dtype, request)
    served = ServedEngine(backend, ModelWeights(model), spell, probe=Probe(range(40, 80), tolerance), seed=5)
    try:
        served.load_weights(0)
        yield Pair(served, model, tolerance.mean, tolerance.largest)
    finally:
        if kind != "vllm_server":
            served.close()
