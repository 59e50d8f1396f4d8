"""The quick start of a model that sees, in small: warm-up, GRPO, swapped media, and going on after a stop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lightrft_apps.commands.quickstart import main
from lightrft_apps.config import RLConfig
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.models.compose import eval_sampling, law_of
from lightrft_apps.quickstart import lessons, perceiving

WHEN = ("before", "after")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image lesson of a few riddles."""
    lesson = replace(
        lessons.LESSONS["image"],
        examples=8,
        riddles=8,
        warmup={"max_epochs": 1},
        grpo={"max_steps": 1, "rollout_batch_size": 4, "n_samples_per_prompt": 2},
    )
    monkeypatch.setitem(lessons.LESSONS, "image", lesson)
    monkeypatch.setattr(lessons, "HELD_OUT", 8)


def test_it_warms_up_learns_and_looks_at_swapped_media_once(small: None, tmp_path: Path) -> None:
    folder = tmp_path / "quick"
    words = ["--modality", "image", "--output_dir", str(folder), "--no-progress", "--seed", "3"]
    main(words)
    summary = json.loads((folder / "summary.json").read_text())
    assert {name: part["n"] for name, part in summary.items()} == {"before": 8, "after": 8, "swapped": 8}
    runs = {name: (folder / name / "metrics.jsonl").read_bytes() for name in ("warmup", "grpo")}
    assert json.loads((folder / "grpo" / "summary.json").read_text())["steps"] == 1
    (folder / "summary.json").unlink()
    main(words)
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert runs == {name: (folder / name / "metrics.jsonl").read_bytes() for name in runs}


def test_swapped_media_are_asked_about_as_the_run_evaluates(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[RLConfig] = []
    asked: list[EvalCommand] = []
    accuracy = {"n": 8, "value": 0.5}
    monkeypatch.setattr(perceiving, "tune", lambda config: {})
    monkeypatch.setattr(
        perceiving, "train", lambda config: runs.append(config) or {f"accuracy_{w}": accuracy for w in WHEN}
    )
    monkeypatch.setattr(perceiving, "evaluate_model", lambda command: asked.append(command) or {"accuracy": accuracy})
    drawn = ["--eval_temperature", "0.7", "--eval_n_samples_per_prompt", "3", "--eval_generate_max_len", "5"]
    ends = ["--stop", "!", "--stop_token_ids", "7", "--generate_min_len", "2", "--seed", "9"]
    engine = ["--engine_type", "vllm", "--engine_url", "http://127.0.0.1:9"]
    main(["--modality", "image", "--output_dir", str(tmp_path / "quick"), *drawn, *ends, *engine, "--top_p", "0.5"])
    (run,), (command,) = runs, asked
    assert command.engine == run.engine and command.engine.engine_url == "http://127.0.0.1:9"
    answers = command.answers
    assert replace(law_of(answers), n=answers.n_samples_per_prompt) == eval_sampling(run)
    assert (answers.seed, command.judges, command.reward) == (9, run.judges, run.reward)


def test_flags_that_name_another_model_or_data_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--modality", "audio", "--pretrain", "MODEL", "--output_dir", str(tmp_path / "quick")])
    assert "--pretrain MODEL: this quick start makes its own model and riddles" in capsys.readouterr().err
    assert not (tmp_path / "quick").exists()


def test_a_modality_that_there_is_not_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--modality", "smell"])
    assert "smell" in capsys.readouterr().err


def test_the_teacher_mistakes_what_it_can_mistake_and_nothing_else(tmp_path: Path) -> None:
    lesson = replace(lessons.LESSONS["image"], examples=60, riddles=1)
    (tmp_path / "lesson").mkdir()
    lesson.write(tmp_path / "lesson", seed=1)
    rows = [json.loads(line) for line in (tmp_path / "lesson" / "examples.jsonl").read_text().splitlines()]
    said = {(row["label"]["choices"][row["label"]["answer"]], row["output"]) for row in rows}
    right = {(colour, colour) for colour in ("red", "green", "blue", "yellow")}
    assert said == right | {*lesson.mistakes.items()}
    assert perceiving.PLACES.keys() == {"pretrain", "prompt_data", "eval_dataset"}
