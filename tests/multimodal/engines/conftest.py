"""Engines of another project over tiny models that see or hear, each beside what Transformers makes of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lightrft_core import Prompt
from lightrft_multimodal.adapters import MediaAdapter, load_adapter
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_vl, build_qwen2_audio
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.engines.sync.probe import Probe
from lightrft_strategy.engines.sync.published import ModelWeights
from lightrft_strategy.engines.sync.receipt import Tolerance
from lightrft_strategy.reading import Reader

from ..conformance.prompts import Asked, Clip, Picture, asked, questions
from ..tiny import internvl, llava, parts
from ..tiny.qwen import build_qwen2_vl, build_qwen3_vl

SIZES = Sizes(
    hidden_size=256,
    num_attention_heads=4,
    num_key_value_heads=2,
    tower_size=128,
    initializer_range=0.1,
    max_pixels=32 * 32,
)
PARTS = parts.Sizes(hidden_size=256, vision_size=128)
"""Heads as wide as vLLM's attention on a CPU needs them."""
LONGEST = 512
MOST = {"image": 3, "video": 2, "audio": 2}
"""Media of one prompt."""

if find_spec("vllm") is None:
    collect_ignore_glob = ["test_*.py"]


@dataclass(frozen=True)
class Kind:
    """How an engine is opened, of which family, and what it takes."""

    build: Callable[[Path, Any], Path]
    modalities: tuple[str, ...]
    server: bool = False
    sizes: Any = SIZES


@dataclass(frozen=True)
class Subject:
    """A tiny model, its prompts, and engines that sample from it."""

    model: Any
    adapter: MediaAdapter
    served: ServedEngine
    kind: Kind

    @cached_property
    def questions(self) -> list[Asked]:
        """Of all kinds that the engine takes; one video lasts longer, in positions, than it is wide or high."""
        told = questions(self.kind.modalities, together=True)
        if "video" in self.kind.modalities:
            told.append(asked(Clip(21, 6, 16, 16, fps=0.5), "How long?"))
        return told

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The same, encoded."""
        return [self.prompt(f"row {number}", question) for number, question in enumerate(self.questions)]

    def prompt(self, uid: str, question: Asked) -> Prompt:
        """A question, encoded."""
        text, ids = self.adapter.encode(question.messages, question.media)
        return Prompt(uid, question.messages, text, ids, media=question.media)

    @property
    def embedded(self) -> EmbeddedEngine:
        """The engine that is known to give what the model's own generation gives."""
        return EmbeddedEngine(self.model, spell, eos_token_ids=(), seed=0, reader=Reader(self.adapter))


def spell(rows: list[list[int]]) -> list[str]:
    """No text: what matters here are tokens."""
    return [""] * len(rows)


SEES, READS_PICTURES, HEARS = ("image", "video"), ("image",), ("audio",)
KINDS = {
    "vllm-qwen2_5_vl": Kind(build_qwen2_5_vl, SEES),
    "vllm-qwen2_audio": Kind(build_qwen2_audio, HEARS),
    "vllm-qwen2_vl": Kind(build_qwen2_vl, SEES),
    "vllm-qwen3_vl": Kind(build_qwen3_vl, READS_PICTURES),
    "vllm-internvl": Kind(internvl.build, SEES, sizes=PARTS),
    "vllm-llava_next": Kind(llava.build_next, READS_PICTURES, sizes=PARTS),
    "vllm_server-qwen2_5_vl": Kind(build_qwen2_5_vl, READS_PICTURES, server=True),
    "vllm_server-qwen2_audio": Kind(build_qwen2_audio, HEARS, server=True),
}
DAILY = "vllm-qwen2_5_vl"
PARAMS = [pytest.param(name, marks=() if name == DAILY else pytest.mark.proof) for name in KINDS]


@pytest.fixture(scope="module", params=PARAMS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """One engine after the other: opening one takes longer than all its tests."""
    kind = KINDS[request.param]
    folder = kind.build(tmp_path_factory.mktemp("model"), kind.sizes)
    adapter = load_adapter(folder)
    assert adapter is not None
    model = adapter.load_model(folder).eval()
    config = EngineConfig(
        str(folder),
        "float32",
        max_model_len=LONGEST,
        seed=0,
        max_num_seqs=16,
        enforce_eager=True,
        timeout=420,
        media={modality: MOST[modality] if modality in kind.modalities else 0 for modality in adapter.towers},
    )
    served = ServedEngine(
        _backend(kind, config),
        ModelWeights(model, renamed=adapter.family.engine_names),
        spell,
        probe=Probe(range(40, 80), Tolerance(1e-4, 1e-4)),
        seed=5,
        adapter=adapter,
    )
    try:
        served.load_weights(0)
        yield Subject(model, adapter, served, kind)
    finally:
        served.close()


def _backend(kind: Kind, config: EngineConfig) -> Any:
    if kind.server:
        from lightrft_strategy.engines.vllm.server import VllmServer

        return VllmServer(config, (), None)
    from lightrft_strategy.engines.vllm.in_process import VllmInProcess

    return VllmInProcess(config, ())


def too_many(subject: Subject) -> Prompt:
    """A prompt with more media than any that the engine was told of."""
    modality = subject.kind.modalities[0]
    one = Picture(1, 20, 30) if modality == "image" else next(m for q in subject.questions for m in q.media)
    return subject.prompt("crowded", asked(*[one] * (MOST[modality] + 1)))
