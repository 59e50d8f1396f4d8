"""What the end-to-end tests share: a tiny model on disk, and runs of it on a task of a few prompts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
"""As the command does, before torch is there: threads that spin while they wait are slow beside other processes."""

Run = Callable[..., dict[str, Any]]
Lines = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Path:
    """A folder with a model of random weights that writes one character a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    vocabulary = {token: i for i, token in enumerate(["<end>", "?", *"0123456789+-= "])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="?").save_pretrained(folder)
    tiny_model(vocab_size=len(vocabulary), eos_token_id=0, initializer_range=0.1).save_pretrained(folder)
    return folder


@pytest.fixture
def rows_file(tmp_path: Path) -> Callable[[str, Sequence[dict[str, Any]]], str]:
    """Write prompts and name their file: rows_file("train", [{"input": ...}, ...])."""

    def write(name: str, rows: Sequence[dict[str, Any]]) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def run(tiny_folder: Path, tmp_path: Path) -> Run:
    """run(name="run", **flags) -> the summary of a run in tmp_path/name."""
    from lightrft_apps import RLConfig, train

    shape = {"rollout_batch_size": 8, "n_samples_per_prompt": 8, "generate_max_len": 8, "reward_workers": 1}
    learning = {"actor_learning_rate": 0.003, "lr_warmup_ratio": 0.0, "num_episodes": 100}

    def start(name: str = "run", **flags: Any) -> dict[str, Any]:
        places = {"pretrain": str(tiny_folder), "output_dir": str(tmp_path / name)}
        return train(RLConfig.create(**shape | learning | places | flags))

    return start


@pytest.fixture
def metrics(tmp_path: Path) -> Lines:
    """metrics(name="run") -> the lines of its metrics.jsonl, without times and memory."""

    def read(name: str = "run") -> list[dict[str, Any]]:
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        return [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in lines]

    return read
