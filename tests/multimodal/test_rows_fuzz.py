"""Malformed rows never end the run: each is a prompt that the model can read, or rejected by name; none is lost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lightrft_core import Prompt
from lightrft_multimodal.adapters import load_adapter
from lightrft_multimodal.encoding import MediaEncoder
from lightrft_multimodal.tiny import build_qwen2_5_omni
from lightrft_strategy.data import LoadedPrompts, PromptSpec, load_prompts, write_rejected
from lightrft_strategy.perception import Adapter

from .malformed_rows import FORMS, files, good, in_parquet, line, spoilt

RESULTS = Path(__file__).parents[2] / "docs/benchmarks/multimodal_rows_fuzz.json"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MediaEncoder:
    """Of a tiny model that reads all modalities."""
    adapter = load_adapter(build_qwen2_5_omni(tmp_path_factory.mktemp("omni")))
    assert adapter is not None
    return MediaEncoder(adapter)


def written(folder: Path, first: int, count: int) -> tuple[list[str], dict[str, int]]:
    """Malformed rows of these seeds as sources, a good one at the head of each; and how many rows each file has."""
    for name, content in files().items():
        (folder / name).write_bytes(content)
    lines: dict[str, list[bytes]] = {form: [line(good(form, Random(0)), Random(1))] for form in FORMS}
    lines["geo3k"] = [line({**good("geo3k", Random(0)), "images": ["image.png"]}, Random(1))]
    rows: dict[str, int] = {}
    for seed in range(first, first + count):
        random = Random(seed)
        form = random.choice(["own", "own", *FORMS])
        row = spoilt(form, random, folder)
        table = folder / form / f"{seed}.parquet"
        table.parent.mkdir(exist_ok=True)
        if random.random() < 0.3 and in_parquet(row, table):
            rows[str(table)] = 1
        else:
            lines[form].append(line(row, random))
    for form, own in lines.items():
        (folder / form).mkdir(exist_ok=True)
        for name, content in files().items():
            (folder / form / name).write_bytes(content)
        (folder / form / "rows.jsonl").write_bytes(b"\n".join(own))
        rows[str(folder / form / "rows.jsonl")] = len(own)
    return [f"{'' if form == 'own' else f'{form}:'}{folder / form}" for form in FORMS], rows


def checked(prompt: Prompt, encoder: MediaEncoder) -> str:
    """What the prompt shows, once the model has been seen to read it as it was encoded."""
    adapter: Adapter = encoder.adapter
    parts = [part for turn in prompt.messages if not isinstance(turn.content, str) for part in turn.content]
    shown = [(part["type"], part["sha256"]) for part in parts if part["type"] != "text"]
    assert shown == [(medium.modality, medium.sha256) for medium in prompt.media]
    assert encoder.adapter.token_ids(prompt.text, prompt.media) == prompt.token_ids
    expanded = sum(token in adapter.placeholders for token in prompt.token_ids)
    assert (expanded > 0) == bool(prompt.media)
    assert set(adapter.for_engine(prompt).media) == {medium.modality for medium in prompt.media}
    json.dumps(prompt.label)
    return "+".join(sorted({medium.modality for medium in prompt.media})) or "text"


def outcomes(folder: Path, encoder: MediaEncoder, first: int, count: int) -> dict[str, Any]:
    """Load that many malformed rows, and say what became of them. Fails if one is lost or counted twice."""
    sources, rows = written(folder, first, count)
    spec = PromptSpec(",".join(sources), apply_chat_template=True, limit_mm_image_per_prompt=4)
    started = time.monotonic()
    loaded = load_prompts(spec, encoder.adapter.tokenizer, encoder)
    seconds = time.monotonic() - started
    assert Counter(_places(loaded, folder)) == {
        (source, number): 1 for source, total in rows.items() for number in range(1, total + 1)
    }
    for item in loaded.rejected:
        assert 10 < len(item.reason) < 900, item.reason
        assert item.reason.isprintable(), item.reason
    prompts = [prompt for source in loaded.sources for prompt in source]
    write_rejected(folder / "rejected.jsonl", loaded.rejected)
    kept = [json.loads(each) for each in (folder / "rejected.jsonl").read_text().splitlines()]
    assert [(each["source"], each["row"]) for each in kept] == [(item.source, item.row) for item in loaded.rejected]
    return {
        "rows": sum(rows.values()) - len(FORMS),
        "rejected": len(loaded.rejected),
        "prompts": dict(sorted(Counter(checked(prompt, encoder) for prompt in prompts).items())),
        "distinct_reasons": len({_kind(item.reason) for item in loaded.rejected}),
        "seconds": round(seconds, 1),
    }


def _places(loaded: LoadedPrompts, folder: Path) -> Iterator[tuple[str, int]]:
    for item in loaded.rejected:
        yield item.source, item.row
    for form, source in zip(FORMS, loaded.sources, strict=True):
        for prompt in source:
            file, _, number = prompt.uid.rpartition(":")
            yield str(folder / form / Path(file).name), int(number)


def _kind(reason: str) -> str:
    """The reason without what is the row's own."""
    return " ".join(word for word in reason.split()[:8] if word.isalpha())


def test_malformed_rows_are_prompts_or_rejected_by_name_and_none_is_lost(tmp_path: Path, encoder: MediaEncoder) -> None:
    found = outcomes(tmp_path, encoder, 0, 200)
    assert found["rows"] == 200
    assert 100 < found["rejected"] < 200
    assert {"text", "image", "audio"} <= found["prompts"].keys()


@pytest.mark.proof
def test_a_thousand_malformed_rows_are_prompts_or_rejected_by_name(tmp_path: Path, encoder: MediaEncoder) -> None:
    found = outcomes(tmp_path, encoder, 1000, 1000)
    assert found["rows"] == 1000
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
