"""Every flag of `lightrft grm` changes what is built of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps import GRMConfig, train_judge
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.training import grm as judge_training
from lightrft_rewards.models.judges import JudgeForm

from . import test_sft
from .built import Build, builder, comparisons, copy_with_template, write_rows

pytestmark = pytest.mark.usefixtures("one_thread")

GRADED = {"judge_kind": "pointwise", "train_data": "<graded>"}
EFFECTS: dict[str, tuple[dict[str, Any], Any]] = {
    "train_data": ({}, "<held>"),
    "eval_data": ({}, "<held>"),
    "train_data_probs": ({"train_data": "<pairs>,<held>"}, "0.01,0.99"),
    "train_split": ({"train_data": "<folder>"}, "test"),
    "prompt_key": ({}, "other"),
    "chosen_key": ({}, "other"),
    "rejected_key": ({}, "other"),
    "apply_chat_template": ({}, True),
    "max_len": ({}, 1000),
    "max_samples": ({}, 3),
    "judge_kind": ({"train_data": "<graded>"}, "pointwise"),
    "heads": ({"train_data": "<judged>"}, "safe"),
    "judge_reasoning": ({"train_data": "<thoughts>"}, True),
    "judge_ties": ({}, False),
    "both_orders": ({}, False),
    "lowest_grade": (GRADED, 0.0),
    "highest_grade": (GRADED, 10.0),
    "generate_max_len": ({}, 7),
    "eval_split": ({"eval_data": "<folder>"}, "train"),
    "eval_steps": ({"eval_data": "<held>"}, 1),
    "eval_max_samples": ({"eval_data": "<held>"}, 1),
    "seed": ({}, 7),
}
"""Flag -> the flags it needs beside it, and a value other than it has there. <names> are places of the test's own."""

ELSEWHERE = dict.fromkeys(
    ("images_key", "videos_key", "audios_key", "media_root", "media_urls"),
    "needs a judge that sees; tests/rewards/judges/test_questions.py",
)
SHARED = (test_sft.EFFECTS.keys() | test_sft.ELSEWHERE.keys()) - EFFECTS.keys() - ELSEWHERE.keys()
"""The same code as for `lightrft sft`, whose table shows the effect."""


def test_no_flag_is_left_out() -> None:
    fields = fields_of(GRMConfig).keys()
    assert fields <= {*EFFECTS, *ELSEWHERE, *SHARED}
    assert EFFECTS.keys() | ELSEWHERE.keys() <= fields
    assert EFFECTS.keys().isdisjoint(ELSEWHERE)


def parts(trainer: Mapping[str, Any], form: JudgeForm) -> dict[str, Any]:
    read = [trainer["examples"].batch(step + 1) for step in range(trainer["examples"].num_steps)]
    return {
        "form": form,
        "schedule": trainer["schedule"],
        "sizes": trainer["sizes"],
        "examples": [[(list(each.token_ids), list(each.loss_mask)) for each in step] for step in read],
        "held_out": [list(each.token_ids) for each in trainer["held_out"]],
    }


@pytest.fixture(scope="module")
def build(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build(**flags) -> what the run is made of; the tokenizer knows figures and no letters."""
    root = tmp_path_factory.mktemp("places")
    copy_with_template(tiny_folder, root / "model", "{% for m in messages %}{{ m.content }}<end>{% endfor %}")
    for name, first in (("pairs", 1), ("held", 4), ("folder/train", 2), ("folder/test", 3)):
        write_rows(root / f"{name}.jsonl", comparisons(first))
    two = {"prompt": "1", "answers": ["1", "2"]}
    thought = {"reasoning": "<think>1</think><answer>Answer 1 is better</answer>"}
    write_rows(root / "judged.jsonl", [two | {"labels": {"score": [1, 0], "safe": [0, 1]}}])
    write_rows(root / "thoughts.jsonl", [two | {"scores": [1, 0]} | thought])
    write_rows(root / "graded.jsonl", [two | {"scores": [1, 2]}])
    places = {name: root / name for name in ("model", "folder")}
    places |= {name: root / f"{name}.jsonl" for name in ("pairs", "held", "judged", "graded", "thoughts")}
    forms: list[JudgeForm] = []
    form_of = judge_training.form_of

    def remember(config: GRMConfig) -> JudgeForm:
        forms.append(form_of(config))
        return forms[-1]

    def start(**flags: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(judge_training, "form_of", remember)
            train_judge(GRMConfig.create(**flags))

    base = {"pretrain": "<model>", "train_data": "<pairs>"}
    return builder(start, lambda trainer: parts(trainer, forms[-1]), base, places, tmp_path_factory.mktemp)


@pytest.mark.parametrize("flag", EFFECTS)
def test_another_value_builds_another_run(build: Build, flag: str) -> None:
    beside, value = EFFECTS[flag]
    assert build(**beside) != build(**beside | {flag: value})


def test_the_same_flags_build_the_same_run(build: Build) -> None:
    assert build() == build(seed=42)
