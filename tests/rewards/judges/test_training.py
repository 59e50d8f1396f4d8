"""Judges as `lightrft grm` trains them, and as `lightrft rl` does by the rule `judgement`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps import GRMConfig, RLConfig, train, train_judge
from lightrft_apps.config import ConfigError, ModelArgs, check, check_grm
from lightrft_apps.config.commands.export import ExportArgs
from lightrft_apps.config.commands.merge_lora import MergeArgs
from lightrft_apps.converting.exporting import export_checkpoint
from lightrft_apps.converting.merging import merge_adapter
from lightrft_apps.data.judge_prompts import load_all_prompts
from lightrft_apps.models.loading import load_senses
from lightrft_rewards.models.judges import JudgeForm
from lightrft_strategy.data import PromptDataError, PromptSpec

from . import toys

pytestmark = pytest.mark.usefixtures("one_thread", "known_bandwidth")

LEARNS = {
    "apply_chat_template": True,
    "train_batch_size": 32,
    "micro_train_batch_size": 512,
    "max_tokens_per_micro_batch": 32768,
    "learning_rate": 2e-3,
    "lr_scheduler": "linear",
    "lr_warmup_ratio": 0.1,
    "generate_max_len": 16,
    "save_steps": -1,
    "progress": False,
}


@pytest.fixture
def places(tmp_path: Path, judge_folder: Path) -> Callable[..., dict[str, str]]:
    """places(name, seed) -> flags that name the model, data and the folder of a run."""

    def named(name: str = "run", *, seed: int = 1, count: int = 24) -> dict[str, str]:
        return {
            "pretrain": str(judge_folder),
            "train_data": str(toys.write(toys.rows(count, seed), tmp_path / f"train_{seed}.jsonl")),
            "eval_data": str(
                toys.write(toys.rows(100 if count > 100 else 6, seed + 100), tmp_path / f"held_{seed}.jsonl")
            ),
            "output_dir": str(tmp_path / name),
        }

    return named


def test_a_run_leaves_a_judge_that_says_how_it_is_asked(
    places: Callable[..., dict[str, str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = places()
    with Path(flags["train_data"]).open("a") as file:
        file.write(json.dumps({"prompt": "x", "chosen": "red", "rejected": "blue", "margin": 0}) + "\n")
        file.write(json.dumps({"prompt": "x", "chosen": "red"}) + "\n")
    config = GRMConfig.create(**LEARNS | flags | {"max_steps": 2, "judge_ties": False})
    summary = train_judge(config)
    told = capfd.readouterr().err
    assert "48 questions about 25 comparisons" in told
    assert "6 comparisons held out" in told
    assert "of the judgements cannot be read" in told
    rejected = [json.loads(line) for line in (tmp_path / "run/rejected.jsonl").read_text().splitlines()]
    assert sorted((item["row"], item["reason"].split(":")[0]) for item in rejected) == [
        (25, "is a tie, of which the judge knows nothing"),
        (26, 'has no "rejected" (it has "prompt", "chosen")'),
    ]
    assert summary["steps"] == 2
    assert summary["loss_after"] < summary["loss_before"]
    assert 0 <= summary["agreement"]["score"]["unreadable"] <= 1
    form = JudgeForm.read(tmp_path / "run/final")
    assert form == JudgeForm(ties=False, apply_chat_template=True, max_len=2048, generate_max_len=16)
    assert train_judge(config) == summary, "a finished run is found finished"


def test_flags_of_another_kind_of_judge_are_refused_with_what_to_change(places: Callable[..., dict[str, str]]) -> None:
    def problems(**flags: Any) -> str:
        return "\n".join(check_grm(GRMConfig.create(**places() | flags)))

    assert problems() == ""
    assert "--lowest_grade has no effect: set --judge_kind pointwise" in problems(lowest_grade=0.0)
    assert "--no-judge_ties has no effect: set --judge_kind pairwise" in problems(
        judge_kind="pointwise", judge_ties=False
    )
    assert "--no-both_orders has no effect: a written" in problems(judge_reasoning=True, both_orders=False)
    assert "--lowest_grade 9 is not below" in problems(judge_kind="pointwise", lowest_grade=9.0)
    assert "--heads a,,b: give each head a name" in problems(heads="a,,b")
    assert "--train_data nowhere.jsonl: there is no such file" in problems(train_data="nowhere.jsonl")
    assert "no handler of preference data 'hpdv4': correct --eval_data" in problems(eval_data="hpdv4:x.json")
    with pytest.raises(ConfigError, match="--generate_max_len"):
        train_judge(GRMConfig.create(**places() | {"generate_max_len": 0}))


def test_nothing_to_ask_about_ends_the_run_with_the_reason(places: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(
        PromptDataError, match=r"nothing of it can be asked.*\n.*has no label of safe: its heads are score"
    ):
        train_judge(GRMConfig.create(**LEARNS | places() | {"heads": "safe"}))


def spec(data: str, **more: Any) -> PromptSpec:
    return PromptSpec(data, **{"apply_chat_template": True, **more})


def test_prompts_that_ask_a_judge_stand_beside_others_in_the_order_of_the_flag(
    tmp_path: Path, judge_folder: Path
) -> None:
    pairs = toys.write(toys.rows(3, 1), tmp_path / "pairs.jsonl")
    plain = toys.write([{"input": "a boat", "label": "1"}], tmp_path / "plain.jsonl")
    senses = load_senses(ModelArgs(str(judge_folder)))
    loaded = load_all_prompts(spec(f"judge:{pairs},{plain}"), senses, str(judge_folder))
    judged, others = loaded.sources
    assert [prompt.uid for prompt in judged[:2]] == ["pairs.jsonl:1[1,2]", "pairs.jsonl:1[2,1]"]
    assert sorted(prompt.label["verdict"] for prompt in judged[:2]) == [1, 2]
    assert {prompt.route for prompt in judged} == {"judgement"}
    assert [prompt.uid for prompt in others] == ["plain.jsonl:1"]
    twice = load_all_prompts(spec(f"judge:{pairs},judge-think:{pairs}"), senses, str(judge_folder))
    uids = [prompt.uid for source in twice.sources for prompt in source]
    assert len(set(uids)) == len(uids) == 12
    assert "<think>" in twice.sources[1][0].text
    assert "<think>" not in twice.sources[0][0].text


def test_a_judges_own_form_decides_what_is_asked_of_it(tmp_path: Path, judge_folder: Path) -> None:
    pairs = toys.write(
        [*toys.rows(2, 1), {"prompt": "x", "chosen": "a", "rejected": "b", "margin": 0}], tmp_path / "p.jsonl"
    )
    senses = load_senses(ModelArgs(str(judge_folder)))
    JudgeForm(ties=False, apply_chat_template=False).write(tmp_path)
    with pytest.raises(PromptDataError, match="leave --apply_chat_template out"):
        load_all_prompts(spec(f"judge:{pairs}"), senses, str(tmp_path))
    JudgeForm(ties=False).write(tmp_path)
    loaded = load_all_prompts(spec(f"judge:{pairs}"), senses, str(tmp_path))
    assert len(loaded.sources[0]) == 4
    assert "equally" not in loaded.sources[0][0].text
    assert [(item.row, item.reason) for item in loaded.rejected] == [(3, "is a tie, of which the judge knows nothing")]
    with pytest.raises(PromptDataError, match=r"a judge can be asked about none.*\n.*more than --prompt_max_len 5"):
        load_all_prompts(spec(f"judge:{pairs}", prompt_max_len=5), senses, str(tmp_path))


def judging(pairs: Path, folder: Path, model: Path, **flags: Any) -> RLConfig:
    return RLConfig.create(
        **{
            "pretrain": str(model),
            "prompt_data": f"judge:{pairs}",
            "rule_reward": "judgement:1.0,judgement_format:0.2",
            "apply_chat_template": True,
            "rollout_batch_size": 4,
            "n_samples_per_prompt": 4,
            "generate_max_len": 12,
            "reward_workers": 1,
            "save_steps": -1,
            "progress": False,
            "output_dir": str(folder),
            **flags,
        }
    )


def test_judges_learn_by_reinforcement_from_how_far_they_agree(tmp_path: Path, judge_folder: Path) -> None:
    pairs = toys.write(toys.rows(4, 1), tmp_path / "pairs.jsonl")
    flags = {"eval_dataset": f"judge:{pairs}", "max_steps": 1, "save_steps": 1}
    summary = train(judging(pairs, tmp_path / "run", judge_folder, **flags))
    assert summary["steps"] == 1
    assert JudgeForm.read(tmp_path / "run/final") == JudgeForm(), "what it leaves is known as a judge"
    export_checkpoint(ExportArgs(str(tmp_path / "run"), str(tmp_path / "exported")))
    assert JudgeForm.read(tmp_path / "exported") == JudgeForm(), "and so is a checkpoint of it"
    (line,) = (
        json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines() if '"step": 1' in line
    )
    assert 0 <= line["reward/part/judgement"] <= 1
    assert 0 <= line["reward/part/judgement_format"] <= 1
    assert "eval/accuracy" in line


def test_sources_that_ask_a_judge_are_checked_before_anything_is_read(tmp_path: Path, judge_folder: Path) -> None:
    def problems(data: str, **flags: Any) -> str:
        return "\n".join(check(judging(Path(data), tmp_path / "run", judge_folder, **flags)))

    pairs = toys.write(toys.rows(2, 1), tmp_path / "pairs.jsonl")
    assert problems(str(pairs)) == ""
    assert "no handler of preference data 'hpdv4': correct --prompt_data" in problems("hpdv4:x")
    assert "--eval_dataset gone.jsonl: there is no such file" in problems(str(pairs), eval_dataset="judge:gone.jsonl")
    assert "--input_template: judge: writes the questions" in problems(str(pairs), input_template="{}!")


@pytest.mark.proof
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_tiny_judge_says_what_is_better_in_both_orders_of_held_out_pairs(
    places: Callable[..., dict[str, str]], seed: int
) -> None:
    """At least 0.9 of 100 pairs it has never seen, right in both orders; chance is 1/4, and before training it is 0."""
    summary = train_judge(GRMConfig.create(**LEARNS | places(seed=seed, count=1000) | {"max_epochs": 6, "seed": seed}))
    agreement = summary["agreement"]["score"]
    assert agreement["right_in_both_orders"]["value"] >= 0.9
    assert agreement["same_in_both_orders"]["value"] >= 0.9
    assert agreement["unreadable"] == 0


@pytest.mark.proof
def test_a_judge_of_the_form_alone_learns_by_reinforcement_what_is_better(
    places: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """After a short supervised warm-up it judges by chance; by reinforcement it learns to agree."""
    flags = places("warmup", count=1000)
    train_judge(GRMConfig.create(**LEARNS | flags | {"max_steps": 60}))
    rl = judging(
        Path(flags["train_data"]),
        tmp_path / "rl",
        tmp_path / "warmup/final",
        eval_dataset=f"judge:{flags['eval_data']}",
        rollout_batch_size=32,
        n_samples_per_prompt=8,
        max_steps=120,
        actor_learning_rate=5e-4,
        init_kl_coef=0.0,
        lr_warmup_ratio=0.0,
        micro_train_batch_size=512,
        max_tokens_per_micro_batch=32768,
    )
    summary = train(rl)
    assert summary["accuracy_after"]["value"] - summary["accuracy_before"]["value"] >= 0.1


def test_a_judge_stays_one_when_it_is_exported_or_its_adapter_merged(
    places: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    flags = {**LEARNS, **places(), "eval_data": None, "max_steps": 1, "judge_ties": False}
    train_judge(GRMConfig.create(**flags | {"lora_rank": 2, "save_steps": 1}))
    merge_adapter(MergeArgs(str(tmp_path / "run/final"), str(tmp_path / "merged"), flags["pretrain"]))
    export_checkpoint(ExportArgs(str(tmp_path / "run"), str(tmp_path / "exported"), merge=True))
    forms = [JudgeForm.read(tmp_path / name) for name in ("run/final", "merged", "exported")]
    assert forms[0] is not None
    assert not forms[0].ties
    assert forms == [forms[0]] * 3
