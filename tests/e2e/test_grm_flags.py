"""Every flag of `lightrft grm` changes what is built of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from lightrft_apps import GRMConfig, judge_training, supervised, train_judge
from lightrft_apps.config.schema import fields_of
from lightrft_rewards.models.judges import JudgeForm

from . import test_sft

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


class Built(Exception):
    """Carries out of `train_judge` what its run would have been made of."""


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
def build(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """build(**flags) -> what the run is made of; the tokenizer knows figures and no letters."""
    root = tmp_path_factory.mktemp("places")
    copytree(tiny_folder, root / "model")
    settings = json.loads((root / "model/tokenizer_config.json").read_text())
    settings["chat_template"] = "{% for m in messages %}{{ m.content }}<end>{% endfor %}"
    (root / "model/tokenizer_config.json").write_text(json.dumps(settings))
    (root / "folder").mkdir()

    def write(name: str, rows: list[dict[str, Any]]) -> None:
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def pairs(first: int) -> list[dict[str, Any]]:
        texts = [(f"{i}+1", f"{i + 1}" * i, f"{i}", "2") for i in range(first, first + 5)]
        return [dict(zip(("prompt", "chosen", "rejected", "other"), row, strict=True)) for row in texts]

    for name, first in (("pairs", 1), ("held", 4), ("folder/train", 2), ("folder/test", 3)):
        write(name, pairs(first))
    write("judged", [{"prompt": "1", "answers": ["1", "2"], "labels": {"score": [1, 0], "safe": [0, 1]}}])
    thought = {"reasoning": "<think>1</think><answer>Answer 1 is better</answer>"}
    write("thoughts", [{"prompt": "1", "answers": ["1", "2"], "scores": [1, 0]} | thought])
    write("graded", [{"prompt": "1", "answers": ["1", "2"], "scores": [1, 2]}])
    places = {f"<{name}>": str(root / name) for name in ("model", "folder")}
    places |= {f"<{name}>": str(root / f"{name}.jsonl") for name in ("pairs", "held", "judged", "graded", "thoughts")}

    def placed(value: Any) -> Any:
        for name, place in places.items() if isinstance(value, str) else ():
            value = value.replace(name, place)
        return value

    forms: list[JudgeForm] = []

    def remember(config: GRMConfig) -> JudgeForm:
        forms.append(form_of(config))
        return forms[-1]

    def stop(**trainer: Any) -> None:
        raise Built(parts(trainer, forms[-1]))

    form_of = judge_training.form_of

    @cache
    def remembered(flags: str) -> dict[str, Any]:
        base = {"pretrain": "<model>", "train_data": "<pairs>", "train_batch_size": 3, "progress": False}
        flat = {name: placed(value) for name, value in (base | json.loads(flags)).items()}
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Built) as stopped:
            patch.setattr(supervised, "SupervisedTrainer", stop)
            patch.setattr(judge_training, "form_of", remember)
            train_judge(GRMConfig.create(**flat, output_dir=str(tmp_path_factory.mktemp("run") / "run")))
        built: dict[str, Any] = stopped.value.args[0]
        return built

    return lambda **flags: remembered(json.dumps(flags))


@pytest.mark.parametrize("flag", EFFECTS)
def test_another_value_builds_another_run(build: Callable[..., dict[str, Any]], flag: str) -> None:
    beside, value = EFFECTS[flag]
    assert build(**beside) != build(**beside | {flag: value})


def test_the_same_flags_build_the_same_run(build: Callable[..., dict[str, Any]]) -> None:
    assert build() == build(seed=42)
