"""What the fault tests share: a tiny task, and a way to run the command on it that can be killed at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).with_name("driver.py")

REWARD = """
import pathlib, time

switch = pathlib.Path(__file__).with_name("hang")

def score(prompts, responses, labels):
    if switch.exists() and set(responses) & set(switch.read_text().splitlines()):
        time.sleep(600)
    return [sum(letter in "02468" for letter in response) / max(1, len(response)) for response in responses]
"""


@dataclass(frozen=True)
class Task:
    """A folder with a model (`model`), prompts and a reward function.

    While `switch` exists, judging never ends for the answers that are its lines.
    """

    folder: Path

    @property
    def switch(self) -> Path:
        return self.folder / "hang"

    def words(self, output_dir: Path, *more: str) -> list[str]:
        """`lightrft rl` on the task: 6 steps of 4 prompts x 4 samples, over 4 steps an episode."""
        flags: dict[str, Any] = {
            "pretrain": self.folder / "model",
            "prompt_data": self.folder / "prompts.jsonl",
            "eval_dataset": self.folder / "heldout.jsonl",
            "reward_fn": f"{self.folder / 'reward.py'}:score",
            "output_dir": output_dir,
            "rollout_batch_size": 4,
            "n_samples_per_prompt": 4,
            "generate_max_len": 12,
            "num_episodes": 2,
            "max_steps": 6,
            "save_steps": 2,
            "eval_steps": 3,
            "actor_learning_rate": 0.003,
            "lr_warmup_ratio": 0.0,
            "reward_workers": 1,
        }
        return ["rl", *(f"--{name}={value}" for name, value in flags.items()), *more]


Launch = Callable[..., int]
AssertSame = Callable[[Path, Path], None]


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Task:
    """The tiny task, with a model of random weights that writes one character a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("task")
    vocabulary = {token: i for i, token in enumerate(["<end>", "?", *"0123456789+-= "])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="?")
    wrapped.save_pretrained(folder / "model")
    tiny_model(vocab_size=len(vocabulary), eos_token_id=0).save_pretrained(folder / "model")

    def write(name: str, rows: list[dict[str, str]]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("prompts.jsonl", [{"input": f"{i}+{i**2}=", "label": str(i + i**2)} for i in range(1, 17)])
    write("heldout.jsonl", [{"input": f"{i}-{i}=", "label": "0"} for i in range(17, 21)])
    (folder / "reward.py").write_text(REWARD)
    return Task(folder)


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """launch(words, moment="never", count=1, patience=None) -> exit code of `lightrft WORDS`, -9 if it was killed.

    It is killed at the moment of driver.py, or after `patience` seconds.
    """
    log = tmp_path_factory.mktemp("log") / "output.txt"
    command = [sys.executable, str(DRIVER.with_name("warm.py"))]
    # As the command does: threads that spin while they wait are slow beside other processes.
    patient = os.environ | {"GOMP_SPINCOUNT": "1000"}
    with subprocess.Popen(command, env=patient, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        assert server.stdout.readline() == "ready\n"

        def run(words: list[str], moment: str = "never", count: int = 1, patience: float | None = None) -> int:
            log.write_text("")
            request = {"moment": moment, "count": count, "words": words, "patience": patience, "log": str(log)}
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            code = int(server.stdout.readline())
            if code > 0:
                print(log.read_text())
            return code

        yield run
        server.stdin.close()


def _numbers(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what a clock or the machine's memory decides."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("time/", "memory/"))} for line in lines]


def _without_times(path: Path) -> dict[str, Any]:
    summary = json.loads(path.read_text())
    return {name: value for name, value in summary.items() if not name.endswith("seconds")}


def _read(path: Path) -> Any:
    """A file's content, without what clocks and paths have a say in."""
    import pyarrow.parquet as pq
    import yaml

    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    readers: dict[str, Callable[[Path], Any]] = {
        "metrics.jsonl": _numbers,
        "summary.json": _without_times,
        "report.html": lambda path: None,  # full of times
        "config.yaml": lambda path: yaml.safe_load(path.read_text()) | {"output_dir": None, "_record": None},
    }
    return readers.get(path.name, Path.read_bytes)(path)


def _contents(run: Path) -> dict[str, Any]:
    files = [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(run)): _read(path) for path in sorted(files)}


@pytest.fixture(scope="session")
def assert_same() -> AssertSame:
    """assert_same(run directory, another): they hold the same files, and the same in them but for times and paths."""

    def compare(one: Path, other: Path) -> None:
        found, expected = _contents(one), _contents(other)
        assert list(found) == list(expected)
        assert {"metrics.jsonl", "verdicts.jsonl", "final/model.safetensors", "summary.json"} <= found.keys()
        assert [name for name in expected if found[name] != expected[name]] == [], "these files differ"

    return compare
