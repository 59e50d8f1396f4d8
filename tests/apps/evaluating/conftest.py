"""What the tests of `lightrft eval` share: canned answers, files of benchmarks, and a reader of everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightrft_core import FinishReason, Group, Metrics, Prompt, Rollout, SamplingParams

from .published import PUBLISHED


@dataclass(frozen=True)
class Seen:
    modality: str
    sha256: str


class Everything:
    """Reads every medium, and writes messages as they are, their media as [modality]."""

    modalities = ("image", "audio")
    placeholders = (-1,)

    def read(self, part: Mapping[str, Any], *, root: Path | None, urls: bool) -> Seen:
        return Seen(part["type"], str(part[part["type"]])[:20])

    def encode(self, messages: Sequence[Any], media: Sequence[Any], *, answer_next: bool = True) -> Any:
        parts = [part for message in messages for part in message.content]
        text = "".join(p if isinstance(p, str) else p.get("text") or f"[{p['type']}]" for p in parts)
        return text, tuple(range(1, 5))


@pytest.fixture
def senses() -> Any:
    """A reader of text, images and sounds."""
    return SimpleNamespace(tokenizer=SimpleNamespace(chat_template="x"), encoder=Everything())


class Canned:
    """An engine whose answers are given: (prompt, number of the answer) -> text."""

    def __init__(self, say: Callable[[Prompt, int], str]) -> None:
        self.say = say

    def load_weights(self, version: int) -> Metrics:
        return Metrics()

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        return [
            Group(
                prompt,
                [Rollout(i, [7], [-1.0], [True], FinishReason.STOP, self.say(prompt, i)) for i in range(sampling.n)],
            )
            for prompt in prompts
        ]


@pytest.fixture
def canned() -> type[Canned]:
    return Canned


@pytest.fixture
def published(tmp_path: Path) -> dict[str, str]:
    """benchmark -> a Parquet file with rows in its published form; those of other columns follow in files of theirs."""
    files = {}
    for name, asked in PUBLISHED.items():
        files[name] = str(tmp_path / f"{name}.parquet")
        columns = {key for each in asked for key in each.row}
        rows = [{column: each.row.get(column) for column in columns} for each in asked]
        if name == "livecodebench":
            rows[1]["private_test_cases"] = '[{"input": "[5]\\n-5", "output": "0", "testtype": "functional"}]'
        if name == "aime24":
            rows[1]["answer"] = str(rows[1].pop("Answer"))
            rows[1]["problem"] = rows[1].pop("Problem")
            rows = [{k: v for k, v in row.items() if k not in ("Answer", "Problem")} for row in rows]
        pq.write_table(pa.Table.from_pylist(rows), files[name])
    return files
