"""What the end-to-end tests share: a tiny model on disk, and runs of it on a task of a few prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

Run = Callable[..., dict[str, Any]]
Line = dict[str, Any]
Lines = Callable[..., list[Line]]
Answers = list[list[dict[str, Any]]]

SEED = 1
"""What a test's runs are seeded with unless they say otherwise; margins hold for 2 and 3 as well."""


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
def prompts(rows_file: Callable[..., str]) -> str:
    """Eight sums."""
    return rows_file("prompts", [{"input": f"{i}+{9 - i}=", "label": "9"} for i in range(8)])


@pytest.fixture
def reward(tmp_path: Path) -> Callable[[str], str]:
    """reward(expression) -> a --reward_fn that pays each answer what the expression makes of its text r."""

    def write(expression: str) -> str:
        path = tmp_path / f"reward_{len(list(tmp_path.glob('reward_*.py')))}.py"
        path.write_text(f"def score(prompts, responses, labels):\n    return [{expression} for r in responses]\n")
        return f"{path}:score"

    return write


@pytest.fixture
def sevens(reward: Callable[[str], str]) -> str:
    """A reward for answers of eight sevens."""
    return reward("r.count('7') / 8")


@pytest.fixture
def run(tiny_folder: Path, tmp_path: Path, known_bandwidth: None) -> Run:
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


@pytest.fixture
def course(run: Run, metrics: Lines, prompts: str, sevens: str, tmp_path: Path) -> Lines:
    """course(**flags) -> the lines of a run of its own; rewarded for sevens unless the flags say otherwise."""

    def start(**flags: Any) -> list[Line]:
        name = f"course_{len(list(tmp_path.glob('course_*')))}"
        judge = {} if "rule_reward" in flags else {"reward_fn": sevens}
        run(name, **{"prompt_data": prompts, "seed": SEED, "progress": False} | judge | flags)
        return metrics(name)

    return start


@pytest.fixture
def answers(tmp_path: Path) -> Callable[[int], Answers]:
    """answers(number) -> of that course, numbered from 0, the judged answers of each step."""

    def read(number: int) -> Answers:
        files = sorted((tmp_path / f"course_{number}" / "trajectories").glob("step_*.parquet"))
        return [pq.read_table(path).to_pylist() for path in files]

    return read


@pytest.fixture(scope="module")
def taught(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """taught(steps) -> the folder of the tiny model after so many steps of learning to write sevens."""
    from lightrft_apps import RLConfig, train

    folder = tmp_path_factory.mktemp("taught")
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"input": f"{i}+{9 - i}="}) + "\n" for i in range(8)))
    (folder / "reward.py").write_text(
        "def score(prompts, responses, labels):\n    return [r.count('7') / 8 for r in responses]\n"
    )

    @cache
    def teach(steps: int) -> str:
        places = {"pretrain": str(tiny_folder), "prompt_data": str(folder / "prompts.jsonl")}
        shape = {"rollout_batch_size": 8, "generate_max_len": 8, "reward_fn": f"{folder / 'reward.py'}:score"}
        learning = {"actor_learning_rate": 0.003, "lr_warmup_ratio": 0.0, "num_episodes": 100, "max_steps": steps}
        run = {"algorithm": "dr_grpo", "seed": 7, "output_dir": str(folder / str(steps)), "progress": False}
        train(RLConfig.create(**places | shape | learning | run))
        return str(folder / str(steps) / "final")

    return teach
