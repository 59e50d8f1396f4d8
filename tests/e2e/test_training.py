"""Whole runs of a tiny model: it learns, from rewards alone, what it is rewarded for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

Run = Callable[..., dict[str, Any]]
Lines = Callable[..., list[dict[str, Any]]]
RowsFile = Callable[..., str]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "flags",
    [{}, {"bf16": True}, {"train_batch_size": 16}, {"max_epochs": 2, "train_batch_size": 32}],
    ids=["on-policy", "bf16", "off-policy", "two epochs"],
)
def test_a_model_learns_what_it_is_rewarded_for(run: Run, prompts: str, sevens: str, flags: dict[str, Any]) -> None:
    rewards = run(prompt_data=prompts, reward_fn=sevens, max_steps=10, **flags)["rewards"]
    assert rewards[0] < 0.1
    assert sum(rewards[-2:]) / 2 > 0.6


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_run(
    run: Run, metrics: Lines, prompts: str, sevens: str, tmp_path: Path
) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        run(name, prompt_data=prompts, reward_fn=sevens, max_steps=3, seed=seed)
    exported = {
        name: (tmp_path / name / "final" / "model.safetensors").read_bytes() for name in ("one", "again", "other")
    }
    assert metrics("one") == metrics("again") != metrics("other")
    assert exported["one"] == exported["again"] != exported["other"]


def test_a_reference_model_is_measured_against_and_holds_the_policy_back(
    run: Run, metrics: Lines, prompts: str, sevens: str
) -> None:
    for name, coefficient in (("loose", 0.001), ("tight", 1.0)):
        run(name, prompt_data=prompts, reward_fn=sevens, max_steps=8, init_kl_coef=coefficient)
    loose, tight = ([line["policy/kl_reference"] for line in metrics(name)] for name in ("loose", "tight"))
    assert abs(loose[0]) < 1e-6, "the policy begins as its own reference"
    assert loose[-1] > 0.1
    assert 0 < tight[-1] < 0.5 * loose[-1]


def test_without_a_coefficient_there_is_no_reference(run: Run, metrics: Lines, prompts: str, sevens: str) -> None:
    run(prompt_data=prompts, reward_fn=sevens, max_steps=1, init_kl_coef=0.0)
    assert "policy/kl_reference" not in metrics()[0]


@pytest.mark.parametrize(
    "flags",
    [{"init_kl_coef": 0.0}, {"init_kl_coef": 0.1, "train_batch_size": 16}],
    ids=["alone", "with reference"],
)
def test_gradient_checkpointing_changes_memory_not_numbers(
    run: Run, metrics: Lines, prompts: str, sevens: str, flags: dict[str, Any]
) -> None:
    for name, wanted in (("plain", False), ("checkpointed", True)):
        run(name, prompt_data=prompts, reward_fn=sevens, max_steps=3, gradient_checkpointing=wanted, **flags)
    for plain, checkpointed in zip(metrics("plain"), metrics("checkpointed"), strict=True):
        assert checkpointed == pytest.approx(plain, abs=1e-4)


def test_each_row_is_judged_by_the_rules_of_its_route(run: Run, rows_file: RowsFile, tmp_path: Path) -> None:
    answers = {"": "5", "half": "5", "shape": None, "nowhere": "5"}
    rows = [{"input": f"{i}=", "label": label, "route": route} for route, label in answers.items() for i in (1, 2)]
    routes = {"half": "number:0.5", "shape": "format:2"}
    summary = run(
        prompt_data=rows_file("routed", rows),
        rule_reward="number:1.0",
        reward_routes=routes,
        max_reward_error_share=0.3,
        n_samples_per_prompt=64,
        max_steps=1,
        generate_max_len=2,
    )
    path = tmp_path / "run" / "trajectories" / "step_000001.parquet"
    judged: dict[str, list[dict[str, Any]]] = {route: [] for route in answers}
    for row in pq.read_table(path).to_pylist():
        judged[rows[int(row["prompt_uid"].split(":")[1]) - 1]["route"]].append(row)
    rewards = {route: {row["reward"] for row in found} for route, found in judged.items()}
    assert rewards == {"": {0.0, 1.0}, "half": {0.0, 0.5}, "shape": {0.0}, "nowhere": {None}}
    for row in judged[""] + judged["half"]:
        assert (row["reward"] > 0) == (row["accuracy"] == 1)
        assert "5" in row["response"] if row["reward"] else row["response"] != "5"
    assert all("which has no reward" in row["error"] for row in judged["nowhere"])
    scored = [row["reward"] for found in judged.values() for row in found if row["reward"] is not None]
    assert summary["rewards"] == [pytest.approx(sum(scored) / len(scored))]


def test_rules_by_route_teach_the_answers(run: Run, rows_file: RowsFile) -> None:
    rows = [{"input": f"{i}=", "label": "5", "route": route} for route in ("", "other") for i in range(4)]
    summary = run(
        prompt_data=rows_file("routed", rows),
        eval_dataset=rows_file("held out", [{"input": f"{i}=", "label": "5", "route": "other"} for i in (6, 7, 8, 9)]),
        rule_reward="number",
        reward_routes={"other": "number:3"},
        n_samples_per_prompt=16,
        generate_max_len=2,
        max_steps=12,
    )
    assert summary["accuracy_before"]["value"] < 0.5
    assert summary["accuracy_after"] == {"value": 1.0, "n": 4, "interval": pytest.approx([0.51, 1.0], abs=0.01)}


def test_the_exported_model_is_the_one_that_was_evaluated_last(
    run: Run, prompts: str, sevens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightrft_apps.main import main

    rows = {"prompt_data": prompts, "eval_dataset": prompts}
    run(**rows, rule_reward="number", max_steps=2, generate_max_len=2)
    words = ["eval", "--pretrain", "run/final", "--prompt_data", prompts, "--rule_reward", "number"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightrft", *words, "--generate_max_len", "2", "--output_dir", "judged"])
    main()

    def answers(path: str) -> list[tuple[str, str, float]]:
        return [(r["prompt_uid"], r["response"], r["reward"]) for r in pq.read_table(tmp_path / path).to_pylist()]

    assert answers("judged/answers.parquet") == answers("run/trajectories/eval_000002.parquet")
