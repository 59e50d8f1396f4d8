"""Every flag of `lightrft srm` changes what is built of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from lightrft_apps import RMConfig, supervised, train_reward_model
from lightrft_apps.config.schema import fields_of

from . import test_sft

pytestmark = pytest.mark.usefixtures("one_thread")

HELD = {"eval_data": "<held>"}
EFFECTS: dict[str, tuple[dict[str, Any], Any]] = {
    "pretrain": ({}, "<other>"),
    "train_data": ({}, "<held>"),
    "eval_data": ({}, "<held>"),
    "train_data_probs": ({"train_data": "<pairs>,<held>"}, "0.01,0.99"),
    "train_split": ({"train_data": "<folder>"}, "test"),
    "prompt_key": ({}, "other"),
    "chosen_key": ({}, "other"),
    "rejected_key": ({}, "other"),
    "apply_chat_template": ({}, True),
    "max_len": ({}, 6),
    "max_samples": ({}, 3),
    "heads": ({"train_data": "<judged>"}, "safe,score"),
    "pooling_method": ({}, "attn"),
    "probing_layer": ({}, 1),
    "loss_type": ({}, "hps"),
    "margin": ({}, 0.1),
    "label_smoothing": ({}, 0.1),
    "loss_temperature": ({"loss_type": "hps"}, 2.0),
    "tie_share": ({"loss_type": "davidson"}, 0.5),
    "huber_delta": ({"loss_type": "regression"}, 1.0),
    "lora_rank": ({}, 4),
    "freeze_prefix": ({}, "model.embed_tokens"),
    "train_batch_size": ({}, 2),
    "micro_train_batch_size": ({}, 3),
    "max_tokens_per_micro_batch": ({}, 100),
    "max_epochs": ({}, 2),
    "max_steps": ({}, 1),
    "learning_rate": ({}, 0.1),
    "enable_ema": ({}, True),
    "eval_split": ({"eval_data": "<folder>"}, "train"),
    "eval_steps": (HELD, 1),
    "eval_max_samples": (HELD, 1),
    "seed": ({}, 7),
    "bf16": ({}, True),
}
"""Flag -> the flags it needs beside it, and a value other than it has there. <names> are places of the test's own."""

MEDIA = ("images_key", "videos_key", "audios_key", "media_root", "media_urls")
ELSEWHERE = {
    **dict.fromkeys(MEDIA, "needs a model that sees; tests/multimodal/test_srm_media.py"),
    "value_prefix_head": "tests/e2e/test_srm.py",
    **dict.fromkeys(("placeholder_token", "step_separator"), "is for solutions in steps; tests/e2e/test_srm_steps.py"),
    **dict.fromkeys(("packing_samples", "sp_size", "aux_loss_coef"), "refused; tests/e2e/test_srm.py"),
}
SHARED = (test_sft.EFFECTS.keys() | test_sft.ELSEWHERE.keys()) - EFFECTS.keys() - ELSEWHERE.keys()
"""The same code as for `lightrft sft`, whose table shows the effect."""


def test_no_flag_is_left_out() -> None:
    fields = fields_of(RMConfig).keys()
    assert fields <= {*EFFECTS, *ELSEWHERE, *SHARED}
    assert EFFECTS.keys() | ELSEWHERE.keys() <= fields
    assert EFFECTS.keys().isdisjoint(ELSEWHERE)


class Built(Exception):
    """Carries out of `train_reward_model` what its run would have been made of."""


def parts(trainer: Mapping[str, Any]) -> dict[str, Any]:
    strategy, recorder, examples = (trainer[name] for name in ("strategy", "recorder", "examples"))
    model = strategy.held["rm"].module
    read = [examples.batch(step + 1) for step in range(examples.num_steps)]
    return {name: trainer[name] for name in ("sizes", "schedule", "objective")} | {
        "optimisers": strategy.optimisers,
        "averages": {name: average.beta for name, average in strategy.averages.items()},
        "weights": [
            (name, str(w.dtype), w.requires_grad, float(w.detach().double().sum()))
            for name, w in model.named_parameters()
        ],
        "model": (model.heads, model.pooling, model.uncertain, str(strategy.scales)),
        "recorder": (recorder.keep, recorder.export is not None),
        "examples": [[(contest.passages, contest.labels) for contest in step] for step in read],
        "held_out": [contest.passages for contest in trainer["held_out"]],
    }


@pytest.fixture(scope="module")
def build(
    tiny_folder: Path, tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, Any]]:
    """build(**flags) -> what the run is made of, and what its folder would say of the head."""
    root = tmp_path_factory.mktemp("places")
    for name, seed in (("model", 0), ("other", 1)):
        copytree(tiny_folder, root / name)
        settings = json.loads((root / name / "tokenizer_config.json").read_text())
        settings["chat_template"] = (
            "{% for m in messages %}{{ m.content }}{{ '<end>' if m.role == 'assistant' else '=' }}{% endfor %}"
        )
        (root / name / "tokenizer_config.json").write_text(json.dumps(settings))
        tiny_model(seed, vocab_size=18, eos_token_id=0, initializer_range=0.1).save_pretrained(root / name)

    def write(name: str, rows: list[dict[str, Any]]) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def pairs(first: int) -> list[dict[str, Any]]:
        texts = [(f"{i}+1", f"{i + 1}" * i, f"{i}", "2") for i in range(first, first + 5)]
        return [dict(zip(("prompt", "chosen", "rejected", "other"), row, strict=True)) for row in texts]

    for name, first in (("pairs.jsonl", 1), ("held.jsonl", 4), ("folder/train.jsonl", 2), ("folder/test.jsonl", 3)):
        write(name, pairs(first))
    judged = {"score": [1, 0], "safe": [0, 1]}
    write("judged.jsonl", [{"prompt": "1", "answers": ["1", "2"], "labels": judged}])
    places = {f"<{name}>": str(root / name) for name in ("model", "other", "folder")}
    places |= {f"<{name}>": str(root / f"{name}.jsonl") for name in ("pairs", "held", "judged")}

    def placed(value: Any) -> Any:
        for name, place in places.items() if isinstance(value, str) else ():
            value = value.replace(name, place)
        return value

    def stop(**trainer: Any) -> None:
        raise Built(parts(trainer))

    @cache
    def remembered(flags: str) -> dict[str, Any]:
        base = {"pretrain": "<model>", "train_data": "<pairs>", "train_batch_size": 3, "progress": False}
        flat = {name: placed(value) for name, value in (base | json.loads(flags)).items()}
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Built) as stopped:
            patch.setattr(supervised, "SupervisedTrainer", stop)
            train_reward_model(RMConfig.create(**flat, output_dir=str(tmp_path_factory.mktemp("run") / "run")))
        built: dict[str, Any] = stopped.value.args[0]
        return built

    return lambda **flags: remembered(json.dumps(flags))


@pytest.mark.parametrize("flag", EFFECTS)
def test_another_value_builds_another_run(build: Callable[..., dict[str, Any]], flag: str) -> None:
    beside, value = EFFECTS[flag]
    assert build(**beside) != build(**beside | {flag: value})


def test_the_same_flags_build_the_same_run(build: Callable[..., dict[str, Any]]) -> None:
    assert build() == build(seed=42)
