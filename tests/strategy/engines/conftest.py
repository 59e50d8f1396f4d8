"""Engines of every kind over one tiny model, each with the model it must agree with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@dataclass
class Pair:
    """An engine, the model whose weights it samples with, and how far their log-probabilities may lie apart."""

    engine: EmbeddedEngine | ServedEngine
    model: Any
    mean: float
    largest: float


def open_pair(kind: str, dtype: str, folder: Path) -> Iterator[Pair]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    tolerance = Tolerance(1e-4, 1e-4) if dtype == "float32" else Tolerance(0.02, 0.5)
    if kind == "embedded":
        engine = EmbeddedEngine(model, spell, eos_token_ids=EOS, seed=5)
        yield Pair(engine, model, tolerance.mean, tolerance.largest)
        return
    config = EngineConfig(
        str(folder), dtype, max_model_len=LONGEST, seed=0, max_num_seqs=32, enforce_eager=True, timeout=180
    )
    backend: Backend
    if kind == "vllm":
        from lightrft_strategy.engines.vllm.in_process import VllmInProcess

        backend = VllmInProcess(config, EOS)
    else:
        from lightrft_strategy.engines.vllm.server import VllmServer

        backend = VllmServer(config, EOS, None)
    served = ServedEngine(backend, ModelWeights(model), spell, probe=Probe(range(40, 80), tolerance), seed=5)
    try:
        served.load_weights(0)
        yield Pair(served, model, tolerance.mean, tolerance.largest)
    finally:
        served.close()


KINDS = ["embedded-float32", "embedded-bfloat16"]
if find_spec("vllm") is not None:
    KINDS += ["vllm-float32", "vllm-bfloat16", "vllm_server-float32"]
"""Those that can run here: without one of vLLM's extras, the embedded engine alone."""


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, folder: Path) -> Iterator[Pair]:
    """One engine after the other."""
    yield from open_pair(*request.param.split("-"), folder)
