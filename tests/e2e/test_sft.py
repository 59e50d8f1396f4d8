"""Supervised fine-tuning as its users run it: it learns the answers it is given, and leaves what it says it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps import SFTConfig, tune
from lightrft_apps.config import ConfigError
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.training import sft as tuning
from lightrft_apps.training import supervised
from lightrft_core import TrainState

from .built import Build, Built, builder, two_models, write_rows

pytestmark = pytest.mark.usefixtures("one_thread")

Tune = Callable[..., dict[str, Any]]


@pytest.fixture
def sums(rows_file: Callable[..., str]) -> str:
    """Sums up to six, as questions and answers."""
    rows = [{"input": f"{a}+{b}=", "output": str(a + b)} for a in range(4) for b in range(4)]
    return rows_file("sums", [*rows, {"input": "1+1="}])


@pytest.fixture
def held(rows_file: Callable[..., str]) -> str:
    return rows_file("held", [{"input": "1+2=", "output": "3"}, {"input": "0+3=", "output": "3"}])


@pytest.fixture
def start(tiny_folder: Path, tmp_path: Path, sums: str) -> Tune:
    """start(name="run", **flags) -> the summary of a run in tmp_path/name."""

    def run(name: str = "run", **flags: Any) -> dict[str, Any]:
        given = {"pretrain": str(tiny_folder), "dataset": sums, "output_dir": str(tmp_path / name)}
        shape = {"train_batch_size": 8, "learning_rate": 3e-3, "lr_warmup_ratio": 0.0, "progress": False}
        return tune(SFTConfig.create(**given | shape | flags))

    return run


def test_it_learns_the_answers_and_to_stop_after_them(
    start: Tune, held: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    summary = start(max_epochs=40, eval_dataset=held, packing_samples=True)
    assert "2 examples are held out and trained on; the first: held.jsonl:" in capfd.readouterr().err
    assert summary["losses"][-1] < 0.05 < summary["losses"][0]
    assert summary["loss_after"] < 0.05 < summary["loss_before"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "final")
    for question, answer in (("3+3=", "6<end>"), ("0+2=", "2<end>")):
        ids = torch.tensor([tokenizer(question)["input_ids"]])
        said = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False, pad_token_id=1
        )
        assert tokenizer.decode(said[0, ids.shape[1] :]) == answer
    (rejected,) = map(json.loads, (tmp_path / "run" / "rejected.jsonl").read_text().splitlines())
    assert rejected["row"] == 17 and 'under "output" is missing' in rejected["reason"]


def test_packing_and_micro_batches_change_nothing_but_rounding(start: Tune, metrics: Callable[..., Any]) -> None:
    ways = {"padded": {}, "packed": {"packing_samples": True}, "small": {"micro_train_batch_size": 3}}
    for name, flags in ways.items():
        start(name, max_epochs=2, **flags)
    first, *others = (metrics(name) for name in ways)
    for other in others:
        for one, same in zip(first, other, strict=True):
            assert one == pytest.approx(same, rel=1e-4, abs=1e-6)


def test_a_finished_run_is_shown_and_not_trained_again(start: Tune, tmp_path: Path, monkeypatch: Any) -> None:
    summary = start(max_steps=2)
    monkeypatch.setattr(supervised, "SupervisedTrainer", None)
    assert start(max_steps=2) == summary
    replayed = SFTConfig.from_file(tmp_path / "run" / "config.yaml")
    assert replayed.train.max_steps == 2
    assert tune(replayed) == summary


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"dataset": "missing.jsonl"}, "--dataset missing.jsonl: there is no such file or folder"),
        ({"eval_steps": 3}, "--eval_steps has no effect: set --eval_dataset"),
        ({"eval_dataset": "a,,b"}, "--eval_dataset a,,b: names an empty source"),
        ({"multiturn": True}, "--multiturn: turns can be told apart in a chat template: add --apply_chat_template"),
        ({"pretrain_mode": True, "output_key": "x"}, "--output_key has no effect: leave --pretrain_mode out"),
        ({"learning_rate": 0.0}, "--learning_rate 0.0: set it to a number above 0"),
        ({"sp_size": 2}, "--sp_size 2: only packed rows are cut into slices"),
        ({"ring_attn_size": 2}, "--ring_attn_size 2: only packed rows are cut into slices"),
        ({"ema_beta": 0.5}, "--ema_beta has no effect: set --enable_ema"),
        ({"lora_alpha": 8.0}, "--lora_alpha has no effect: set --lora_rank"),
        ({"pretrain": "./nowhere"}, "--pretrain ./nowhere: there is no such file or folder"),
    ],
)
def test_what_cannot_be_is_told_before_anything_loads(start: Tune, flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        start(**flags)
    assert any(complaint in problem for problem in refused.value.problems), refused.value.problems


# Every flag


CHAT, HELD, LORA = {"apply_chat_template": True}, {"eval_dataset": "<held>"}, {"lora_rank": 4}
EFFECTS: dict[str, tuple[dict[str, Any], Any]] = {
    "pretrain": ({}, "<other>"),
    "bf16": ({}, True),
    "fp16": ({}, True),
    "attn_implementation": ({}, "eager"),
    "gradient_checkpointing": ({}, True),
    "dataset": ({}, "<held>"),
    "dataset_probs": ({"dataset": "<rows>,<held>"}, "0.01,0.99"),
    "dataset_split": ({"dataset": "<folder>"}, "test"),
    "input_key": ({}, "other"),
    "output_key": ({}, "other"),
    "apply_chat_template": ({}, True),
    "multiturn": ({**CHAT, "dataset": "<chats>"}, True),
    "pretrain_mode": ({}, True),
    "system_prompt": (CHAT, "12"),
    "input_template": ({}, "1+{}"),
    "max_len": ({}, 6),
    "max_samples": ({}, 3),
    "lora_rank": ({}, 4),
    "lora_alpha": (LORA, 8.0),
    "target_modules": (LORA, "q_proj"),
    "freeze_prefix": ({}, "model.embed_tokens"),
    "train_batch_size": ({}, 2),
    "micro_train_batch_size": ({}, 3),
    "max_tokens_per_micro_batch": ({}, 100),
    "packing_samples": ({}, True),
    "max_epochs": ({}, 2),
    "max_steps": ({}, 1),
    "learning_rate": ({}, 0.1),
    "lr_scheduler": ({}, "cosine"),
    "lr_warmup_ratio": ({}, 0.5),
    "adam_betas": ({}, (0.8, 0.9)),
    "adam_eps": ({}, 1e-3),
    "l2": ({}, 0.1),
    "max_norm": ({}, 2.0),
    "max_skipped_steps": ({}, 1),
    "enable_ema": ({}, True),
    "ema_beta": ({"enable_ema": True}, 0.5),
    "eval_dataset": ({}, "<held>"),
    "eval_split": ({"eval_dataset": "<folder>"}, "train"),
    "eval_steps": (HELD, 1),
    "eval_max_samples": (HELD, 1),
    "seed": ({}, 7),
    "save_steps": ({}, 1),
    "max_ckpt_num": ({}, 5),
    "max_ckpt_mem": ({}, 5.0),
    "save_hf_ckpt": ({}, True),
}
"""Flag -> the flags it needs beside it, and a value other than it has there. <names> are places of the test's own."""

SHARDING = (
    *("fsdp", "fsdp_offload", "fsdp_reshard", "zero_stage", "adam_offload", "overlap_comm"),
    *("tp_size", "sp_size", "ring_attn_size"),
)
TRACKERS = ("use_wandb", "use_tensorboard", "use_swanlab", "use_trackio", "tensorboard_dir")
TRACKING = (*TRACKERS, *(f"tracker_{name}" for name in ("online", "project", "run_name", "group", "org")))
SHARED = (
    "ranks_timeout",
    "stall_timeout",
    "strategy",
    "balance_speeds",
    "compile",
    "profile_steps",
    "trust_remote_code",
    "lora_dropout",
)
MEDIA = ("images_key", "videos_key", "audios_key", "media_root", "media_urls")
ELSEWHERE = {
    "progress": "shows on a terminal alone",
    "output_dir": "every test finds its run there",
    "vision_learning_rate": "needs a tower; the same code as for lightrft rl",
    "aux_loss_coef": "needs a mixture of experts; tests/strategy/test_sft_loss.py",
    "load_in_4bit": "needs the package bitsandbytes; the same code as for lightrft rl",
    **dict.fromkeys(SHARDING, "needs a launcher; tests/strategy/training/test_sft_ranks.py"),
    **dict.fromkeys(TRACKING, "computes the same; tests/apps/trackers shows what is written"),
    **dict.fromkeys(SHARED, "the same code as for lightrft rl, whose table names where it is shown"),
    **dict.fromkeys(MEDIA, "needs a model that sees; tests/multimodal/test_sft_media.py"),
    **{
        f"limit_mm_{modality}_per_prompt": "tests/multimodal/test_sft_media.py"
        for modality in ("image", "video", "audio")
    },
}


def test_no_flag_is_left_out() -> None:
    assert {**EFFECTS, **ELSEWHERE}.keys() == fields_of(SFTConfig).keys()
    assert EFFECTS.keys().isdisjoint(ELSEWHERE)


def parts(trainer: Mapping[str, Any]) -> dict[str, Any]:
    strategy, recorder, examples = (trainer[name] for name in ("strategy", "recorder", "examples"))
    model = strategy.held["policy"].module.model
    read = [examples.batch(step + 1) for step in range(examples.num_steps)]
    return {name: trainer[name] for name in ("sizes", "schedule", "objective")} | {
        "optimisers": strategy.optimisers,
        "averages": {name: average.beta for name, average in strategy.averages.items()},
        "weights": [
            (name, str(w.dtype), w.requires_grad, float(w.detach().double().sum()))
            for name, w in model.named_parameters()
        ],
        "scales": [str(module.scaling) for module in model.modules() if hasattr(module, "scaling")],
        "model": (model.config._attn_implementation, model.is_gradient_checkpointing, str(strategy.scales)),
        "recorder": (recorder.keep, recorder.max_bytes, recorder.export is not None),
        "examples": [[(list(example.token_ids), list(example.loss_mask)) for example in step] for step in read],
        "held_out": [list(example.token_ids) for example in trainer["held_out"]],
    }


@pytest.fixture(scope="module")
def build(tiny_folder: Path, tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build(**flags) -> what the run is made of."""
    root = tmp_path_factory.mktemp("places")
    two_models(tiny_folder, tiny_model, root)
    for name, first in (("rows", 1), ("held", 4), ("folder/train", 2), ("folder/test", 3)):
        rows = [{"input": f"{i}+1", "output": f"{i + 1}" * i, "other": "2"} for i in range(first, first + 5)]
        write_rows(root / f"{name}.jsonl", rows)
    roles = ("user", "assistant", "user", "assistant")
    chat = [{"role": role, "content": str(i)} for i, role in enumerate(roles)]
    write_rows(root / "chats.jsonl", [{"input": chat}])
    places = {name: root / name for name in ("model", "other", "folder")}
    places |= {name: root / f"{name}.jsonl" for name in ("rows", "held", "chats")}

    def start(**flags: Any) -> None:
        tune(SFTConfig.create(**flags))

    return builder(start, parts, {"pretrain": "<model>", "dataset": "<rows>"}, places, tmp_path_factory.mktemp)


@pytest.mark.parametrize("flag", EFFECTS)
def test_another_value_builds_another_run(build: Build, flag: str) -> None:
    beside, value = EFFECTS[flag]
    assert build(**beside) != build(**beside | {flag: value})


def test_the_same_flags_build_the_same_run(build: Build) -> None:
    assert build() == build(seed=42)


def test_a_resumed_run_takes_its_place_from_the_checkpoint(start: Tune, tmp_path: Path, monkeypatch: Any) -> None:
    def stop(**trainer: Any) -> None:
        raise Built(trainer["state"])

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "write_summary", None)
        with pytest.raises(TypeError):
            start(max_epochs=2, max_steps=3)
    monkeypatch.setattr(supervised, "SupervisedTrainer", stop)
    with pytest.raises(Built) as stopped:
        start(max_epochs=2, max_steps=3)
    state: TrainState = stopped.value.args[0]
    assert (state.step, state.optimiser_steps) == (3, 3)
