"""Process rewards as their users run them: steps are learnt, their places found in answers, and the policy credited."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from shutil import copytree
from typing import Any

import pytest

from lightrft_apps import RLConfig, RMConfig, train, train_reward_model
from lightrft_apps.config import check, check_rm
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_rewards.samples import Sample
from lightrft_strategy.data import PromptDataError

pytestmark = pytest.mark.usefixtures("one_thread", "known_bandwidth")


def solutions(count: int, seed: int, *, marked: bool) -> list[dict[str, Any]]:
    """Steps of three digits; good are those with a seven."""
    random, rows = Random(seed), []
    for number in range(count):
        steps = ["".join(random.choices("1234577", k=3)) for _ in range(random.randrange(1, 4))]
        labels = ["+" if "7" in step else "-" for step in steps]
        question = f"{number % 10}="
        if marked:
            rows.append({"input": question + "".join(f"{step}ки " for step in steps), "labels": labels})
        else:
            rows.append({"prompt": question, "steps": steps, "labels": [label == "+" for label in labels]})
    return rows


@pytest.fixture(scope="module")
def backbone(tiny_folder: Path, tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with an embedding to spare, for a token to pad with."""
    folder = tmp_path_factory.mktemp("backbone") / "model"
    copytree(tiny_folder, folder)
    tiny_model(vocab_size=18, eos_token_id=0, initializer_range=0.1).save_pretrained(folder)
    return folder


@pytest.fixture
def flags(backbone: Path, tmp_path: Path, rows_file: Callable[..., str]) -> dict[str, Any]:
    """Of a run that learns from lists of steps, into tmp_path/prm."""
    return {
        "pretrain": str(backbone),
        "output_dir": str(tmp_path / "prm"),
        "train_data": rows_file("solutions", solutions(160, 0, marked=False)),
        "eval_data": rows_file("held", solutions(40, 1, marked=False)),
        "loss_type": "steps",
        "step_separator": " ",
        "train_batch_size": 16,
        "learning_rate": 5e-3,
        "lr_warmup_ratio": 0.0,
        "max_epochs": 6,
        "progress": False,
    }


def test_steps_are_learnt_and_credit_the_policy_at_the_tokens_that_end_them(
    flags: dict[str, Any],
    backbone: Path,
    tmp_path: Path,
    rows_file: Callable[..., str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    summary = train_reward_model(RMConfig.create(**flags))
    estimate = summary["accuracy_after"]["score"]
    assert estimate["value"] > 0.9 > summary["accuracy_before"]["score"]["value"]
    assert estimate["n"] == sum(len(row["labels"]) for row in solutions(40, 1, marked=False))
    assert summary["accuracy_of"] == "steps"
    assert f"{estimate['n']} steps)" in " ".join(capfd.readouterr().err.split())
    line = json.loads((tmp_path / "prm" / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["eval/first_error_accuracy"] > 0.8

    scorer = ModelScorer.load(tmp_path / "prm" / "final", name="prm")
    ((outcome,),) = scorer.score([[Sample("147 123", prompt="4=")]])
    (first, good), (second, bad) = outcome.steps
    assert (first, second) == (3, 7)
    assert good > 0.5 > bad == outcome.score

    run = {
        "pretrain": str(backbone),
        "prompt_data": rows_file("prompts", [{"input": f"{i}="} for i in range(8)]),
        "reward_pretrain": f"prm={tmp_path / 'prm' / 'final'}",
        "rule_reward": "prm:0",
        "algorithm": "reinforce",
        "rollout_batch_size": 4,
        "n_samples_per_prompt": 2,
        "generate_max_len": 6,
        "generate_min_len": 3,
        "max_steps": 1,
        "progress": False,
        "max_reward_error_share": 1.0,
    }
    moved = []
    for coef in (0.0, 1.0):
        folder = tmp_path / f"rl{coef}"
        train(RLConfig.create(**run, step_reward_coef=coef, output_dir=str(folder)))
        moved.append(json.loads((folder / "metrics.jsonl").read_text().splitlines()[0]).get("optimiser/grad_norm", 0.0))
    assert moved[0] == 0.0 < moved[1]


def test_rows_of_one_text_with_marks_are_read(flags: dict[str, Any], rows_file: Callable[..., str]) -> None:
    marked = {
        "train_data": rows_file("marked", [*solutions(32, 0, marked=True), {"input": "1=2", "labels": ["+"]}]),
        "eval_data": rows_file("marked_held", solutions(8, 1, marked=True)),
        "placeholder_token": "ки",
        "max_epochs": 1,
    }
    summary = train_reward_model(RMConfig.create(**flags | marked))
    assert summary["accuracy_after"]["score"]["n"] == sum(len(row["labels"]) for row in solutions(8, 1, marked=True))
    rejected = (Path(flags["output_dir"]) / "rejected.jsonl").read_text().splitlines()
    assert len(rejected) == 1 and "does not end with" in rejected[0]


def test_what_cannot_be_is_told(flags: dict[str, Any], rows_file: Callable[..., str]) -> None:
    def problems(**changes: Any) -> list[str]:
        return check_rm(RMConfig.create(**flags | changes))

    assert problems() == []
    assert "--heads a,b: steps are judged by one head" in problems(heads="a,b")[0]
    assert "--step_separator: name what stands between" in problems(step_separator="")[0]
    assert "--chosen_key has no effect: solutions in steps" in problems(chosen_key="good")[0]
    assert "--placeholder_token has no effect: set --loss_type steps" in str(
        problems(loss_type="sigmoid", placeholder_token="x", step_separator="\n\n")
    )
    pairs = rows_file("pairs", [{"prompt": "1=", "chosen": "1", "rejected": "2"}])
    with pytest.raises(PromptDataError, match='has no "steps" or "completions"'):
        train_reward_model(RMConfig.create(**flags | {"train_data": pairs}))
    run = {
        "pretrain": flags["pretrain"],
        "prompt_data": pairs,
        "rule_reward": "number",
        "output_dir": flags["output_dir"],
    }
    (problem,) = check(RLConfig.create(**run, step_reward_coef=0.5))
    assert problem.startswith("--step_reward_coef has no effect")
