"""Reinforcement of a model that sees, from a file of riddles to a model on disk, by the same command as of text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from shutil import rmtree
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from lightrft_apps import RLConfig, train
from lightrft_apps.config import ConfigError
from lightrft_apps.config.eval import EvalCommand, ReportArgs
from lightrft_apps.config.sections import DataArgs, ModelArgs, RewardArgs
from lightrft_apps.evaluating.evaluation import evaluate_model
from lightrft_apps.models.senses import Senses
from lightrft_multimodal.adapters import load_adapter
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_vl
from lightrft_multimodal.toys import motion, shape, write_riddles

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[..., Path]


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of random weights, and riddles of pictures and films."""
    folder = tmp_path_factory.mktemp("lesson")
    build_qwen2_5_vl(folder / "model", Sizes(max_pixels=16 * 16, initializer_range=0.1))
    random = Random(0)
    write_riddles([toy(random) for _ in range(4) for toy in (shape, motion)], folder / "riddles.jsonl")
    return folder


@pytest.fixture
def run(lesson: Path, tmp_path: Path) -> Run:
    """run(name, **flags) -> the folder of a run of two steps, 4 riddles x 2 answers each."""

    def start(name: str = "run", **flags: Any) -> Path:
        shape = {"rollout_batch_size": 4, "n_samples_per_prompt": 2, "generate_max_len": 6, "max_steps": 2}
        places = {"pretrain": str(lesson / "model"), "prompt_data": str(lesson / "riddles.jsonl")}
        reward = {"reward_fn": f"{Path(__file__).with_name('made.py')}:evens", "reward_workers": 1}
        learning = {"actor_learning_rate": 1e-2, "lr_warmup_ratio": 0.0, "init_kl_coef": 0.0}
        train(
            RLConfig.create(
                **places | shape | reward | learning | flags,
                apply_chat_template=True,
                output_dir=str(tmp_path / name),
                progress=False,
            )
        )
        return tmp_path / name

    return start


def weights(folder: Path) -> dict[str, torch.Tensor]:
    adapter = load_adapter(folder)
    assert adapter is not None
    state: dict[str, torch.Tensor] = adapter.load_model(folder).state_dict()
    return state


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], part: str) -> float:
    """The largest change of a weight whose name has this part."""
    return max(float((after[name] - before[name]).abs().max()) for name in before if part in name)


def test_a_run_sees_its_prompts_learns_with_its_towers_and_writes_a_model_that_is_evaluated(
    run: Run, lesson: Path
) -> None:
    folder = run()
    adapter, final = load_adapter(lesson / "model"), folder / "final"
    assert adapter is not None
    rows = [
        row for step in (1, 2) for row in pq.read_table(folder / f"trajectories/step_{step:06}.parquet").to_pylist()
    ]
    assert {medium.split(":")[0] for row in rows for medium in row["media"]} == {"image", "video"}
    assert not {*adapter.placeholders} & {token for row in rows for token in row["token_ids"]}
    before, after = weights(lesson / "model"), weights(final)
    assert moved(before, after, "visual") > 1e-3
    assert moved(before, after, "language_model") > 1e-3
    report = evaluate_model(
        EvalCommand(
            model=ModelArgs(str(final)),
            data=DataArgs(str(lesson / "riddles.jsonl"), apply_chat_template=True),
            reward=RewardArgs(rule_reward="multiple_choice", reward_workers=1),
            report=ReportArgs(progress=False),
        )
    )
    assert (report["accuracy"]["n"], report["rejected_rows"]) == (8, 0)


def test_towers_learn_by_a_rate_of_their_own(run: Run, lesson: Path) -> None:
    before, after = weights(lesson / "model"), weights(run(vision_learning_rate=1e-9, max_steps=1) / "final")
    assert moved(before, after, "visual") < 1e-7
    assert moved(before, after, "language_model") > 1e-3


def test_a_rate_of_towers_is_refused_where_there_are_none() -> None:
    assert Senses(tokenizer=None).factors(1e-3, None) == {}
    with pytest.raises(ConfigError, match="--vision_learning_rate 1e-05: the model reads text alone"):
        Senses(tokenizer=None).factors(1e-3, 1e-5)


def test_a_frozen_tower_stays_and_a_packed_run_learns_the_same(run: Run, lesson: Path) -> None:
    flags = {"freeze_prefix": "model.visual", "max_steps": 1}
    padded, packed = (
        weights(run(name, **flags, packing_samples=name == "packed") / "final") for name in ("p", "packed")
    )
    before = weights(lesson / "model")
    assert moved(before, padded, "visual") == 0
    assert moved(before, padded, "language_model") > 1e-3
    assert moved(padded, packed, "language_model") < 1e-3


def test_a_run_that_is_taken_up_again_ends_with_the_same_bits(run: Run) -> None:
    straight = weights(run(save_steps=1) / "final")
    folder = run("resumed", save_steps=1)
    *_, last = sorted((folder / "checkpoints").iterdir())
    for lost in (folder / "final", last):
        rmtree(lost)
    (folder / "summary.json").unlink()
    resumed = weights(run("resumed", save_steps=1) / "final")
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert json.loads((folder / "summary.json").read_text())["steps"] == 2
