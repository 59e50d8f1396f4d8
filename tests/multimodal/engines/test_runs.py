"""Commands over prompts with images, sampling with vLLM: an audit that agrees, and a quick start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.commands.audit_logprobs import main as audit
from lightrft_apps.commands.quickstart import main as quickstart
from lightrft_apps.quickstart import lessons

pytestmark = pytest.mark.usefixtures("one_thread")

VLLM = ["--engine_type", "vllm", "--enforce_eager", "--max_num_seqs", "16"]


@pytest.fixture
def lesson(monkeypatch: pytest.MonkeyPatch) -> lessons.Lesson:
    """An image lesson of a few riddles."""
    small = replace(
        lessons.LESSONS["image"],
        examples=8,
        riddles=8,
        warmup={"max_epochs": 1},
        grpo={"max_steps": 2, "rollout_batch_size": 4, "n_samples_per_prompt": 4, "actor_learning_rate": 1e-3},
    )
    monkeypatch.setitem(lessons.LESSONS, "image", small)
    monkeypatch.setattr(lessons, "HELD_OUT", 8)
    return small


@pytest.mark.parametrize(
    "engine", [pytest.param([], id="embedded"), pytest.param(VLLM, id="vllm", marks=pytest.mark.proof)]
)
def test_an_audit_reads_prompts_with_images_on_both_sides(
    lesson: lessons.Lesson, engine: list[str], tmp_path: Path
) -> None:
    lesson.write(tmp_path / "lesson", 3, lessons.WIDE)
    words = ["--pretrain", str(tmp_path / "lesson/model"), "--prompt_data", str(tmp_path / "lesson/riddles.jsonl")]
    words += ["--apply_chat_template", "--generate_max_len", "8", "--n_samples_per_prompt", "2", "--no-progress"]
    audit([*words, *engine, "--output_dir", str(tmp_path / "out")])
    found: dict[str, Any] = json.loads((tmp_path / "out/audit.json").read_text())
    assert (found["verdict"], found["prompts"], found["answers"]) == ("PASS", 8, 16)
    assert found["numbers"]["engine/logprob_gap_max"] < 1e-4
    assert (found["receipt"] is None) == (engine == [])


@pytest.mark.proof
def test_a_quick_start_learns_from_images_that_vllm_samples_for(
    lesson: lessons.Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = replace(
        lesson,
        examples=512,
        riddles=64,
        warmup={"learning_rate": 3e-3, "max_epochs": 6},
        grpo={"max_steps": 6, "rollout_batch_size": 16, "actor_learning_rate": 1e-3},
    )
    monkeypatch.setitem(lessons.LESSONS, "image", taught)
    quickstart(["--modality", "image", "--output_dir", str(tmp_path / "quick"), "--no-progress", "--seed", "3", *VLLM])
    lines = [json.loads(line) for line in (tmp_path / "quick/grpo/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "sync/version" in line]
    assert [line["sync/version"] for line in steps] == [*range(1, 7)]
    assert all(line["sync/probe_gap_max"] < 1e-4 and line["engine/logprob_gap_max"] < 1e-3 for line in steps)
    assert all(line["sync/probe_moved"] > 0 for line in steps)
    rewards = [line["reward/mean"] for line in steps]
    assert min(rewards) > 0
    assert sum(rewards[-2:]) > sum(rewards[:2])
