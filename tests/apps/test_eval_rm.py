"""`lightrft eval-rm`: what reward models say of comparisons, measured once over all ranks, told without a trap."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from threading import Barrier
from typing import Any
from xml.etree import ElementTree

import pytest

from lightrft_apps.config import ConfigError, RanksArgs
from lightrft_apps.config.eval_rm_command import JudgedModelsArgs, judged_heads, judged_models, parse_eval_rm
from lightrft_apps.parallel import Together
from lightrft_core import OneRank

Command = Callable[..., Any]

TRAP = "<img src=x onerror=alert(1)> & \"quoted\" ']]>"
"""A file's name that would run in a page which believes it."""


def row(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


ROWS = [row(f"{i}+{i}=", str(2 * i), str(2 * i + 1) * (1 + i % 3)) for i in range(40)]
LABELLED = [
    {"prompt": "1+1=", "answers": ["2", "3"], "labels": {"helpful": [1, 0], "safe": [1, -1]}},
    {"prompt": "2+2=", "answers": ["4", "4 "], "labels": {"helpful": [1, 1], "safe": [-1, 1]}},
    {"prompt": "</script><script>alert(2)</script>", "answers": ["\ud800\u0000<b>", "5"], "labels": {"helpful": [0, 1]}},
    {"prompt": "3+3=", "answers": ["6" * 90, "6"], "labels": {"helpful": [0, 1], "safe": [1, 1]}},
    {"prompt": "no answer at all"},
]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of two models on two files, as it was when it ended."""

    folder: Path
    models: Path
    data: list[Path]
    out: str
    found: dict[str, Any]
    page: str

    @property
    def judged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "judged.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def reward_folders(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_model: Command) -> Path:
    """A folder with two reward models of random weights: one with a head, two with two uncertain heads."""
    from transformers import AutoTokenizer

    from lightrft_rewards.models.card import RewardCard
    from lightrft_rewards.models.loading import save_reward_model
    from lightrft_rewards.models.padding import set_padding_token
    from lightrft_rewards.models.reward_model import RewardModel

    folder = tmp_path_factory.mktemp("reward models")
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    set_padding_token(tokenizer, 32)
    for name, heads in (("one", ("score",)), ("two", ("helpful", "safe"))):
        model = RewardModel(tiny_model(vocab_size=32, eos_token_id=0), heads=heads, uncertain=len(heads) > 1)
        card = RewardCard(heads=heads, uncertain=len(heads) > 1, apply_chat_template=False, max_len=64)
        (folder / name).mkdir()
        save_reward_model(model, tokenizer, folder / name, card)
    return folder


@pytest.fixture(scope="module")
def evaluated(reward_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    from lightrft_apps.eval_rm import main

    place = tmp_path_factory.mktemp("evaluation")
    pairs, labelled, folder = place / "pairs.jsonl", place / f"{TRAP}.jsonl", place / "out"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    labelled.write_text("".join(json.dumps(row) + "\n" for row in LABELLED))
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
        main(
            [
                f"--reward_pretrain={reward_folders / 'one'},other={reward_folders / 'two'}",
                "--heads=helpful,safe,score=SCORE".replace(",score=SCORE", ""),
                f"--eval_data={labelled}",
                f"--output_dir={folder}",
            ]
        )
    found = json.loads((folder / "eval.json").read_text())
    return Evaluated(folder, reward_folders, [pairs, labelled], out.getvalue(), found, (folder / "report.html").read_text())
