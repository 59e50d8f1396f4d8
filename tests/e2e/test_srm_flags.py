"""Every flag of `lightrft srm` changes what is built of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps import RMConfig, train_reward_model
from lightrft_apps.config.reading.schema import fields_of

from . import test_sft
from .built import Build, builder, comparisons, two_models, write_rows

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
REFUSED = ("packing_samples", "sp_size", "ring_attn_size", "aux_loss_coef")
ELSEWHERE = {
    **dict.fromkeys(MEDIA, "needs a model that sees; tests/multimodal/test_srm_media.py"),
    "value_prefix_head": "tests/e2e/test_srm.py",
    **dict.fromkeys(("placeholder_token", "step_separator"), "is for solutions in steps; tests/e2e/test_srm_steps.py"),
    **dict.fromkeys(REFUSED, "refused; tests/e2e/test_srm.py"),
}
SHARED = (test_sft.EFFECTS.keys() | test_sft.ELSEWHERE.keys()) - EFFECTS.keys() - ELSEWHERE.keys()
"""The same code as for `lightrft sft`, whose table shows the effect."""


def test_no_flag_is_left_out() -> None:
    fields = fields_of(RMConfig).keys()
    assert fields <= {*EFFECTS, *ELSEWHERE, *SHARED}
    assert EFFECTS.keys() | ELSEWHERE.keys() <= fields
    assert EFFECTS.keys().isdisjoint(ELSEWHERE)


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
def build(tiny_folder: Path, tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build(**flags) -> what the run is made of, and what its folder would say of the head."""
    root = tmp_path_factory.mktemp("places")
    two_models(tiny_folder, tiny_model, root)
    for name, first in (("pairs", 1), ("held", 4), ("folder/train", 2), ("folder/test", 3)):
        write_rows(root / f"{name}.jsonl", comparisons(first))
    judged = {"score": [1, 0], "safe": [0, 1]}
    write_rows(root / "judged.jsonl", [{"prompt": "1", "answers": ["1", "2"], "labels": judged}])
    places = {name: root / name for name in ("model", "other", "folder")}
    places |= {name: root / f"{name}.jsonl" for name in ("pairs", "held", "judged")}

    def start(**flags: Any) -> None:
        train_reward_model(RMConfig.create(**flags))

    return builder(start, parts, {"pretrain": "<model>", "train_data": "<pairs>"}, places, tmp_path_factory.mktemp)


@pytest.mark.parametrize("flag", EFFECTS)
def test_another_value_builds_another_run(build: Build, flag: str) -> None:
    beside, value = EFFECTS[flag]
    assert build(**beside) != build(**beside | {flag: value})


def test_the_same_flags_build_the_same_run(build: Build) -> None:
    assert build() == build(seed=42)
