"""The quick start: its own defaults, and every flag of `lightrft rl` on top."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightrft_apps.config.commands.quickstart import ABOUT, DEFAULTS, PROBLEMS


def problems(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (PROBLEMS / name).read_text().splitlines()]


def test_its_defaults_are_a_complete_configuration(lightrft: Callable[..., Any]) -> None:
    ended = lightrft("quickstart", "--print_config")
    assert ended.code == 0
    shown = yaml.safe_load(ended.out)
    assert {name: shown[name] for name in DEFAULTS} == DEFAULTS


def test_flags_win_over_its_defaults(lightrft: Callable[..., Any]) -> None:
    shown = yaml.safe_load(lightrft("quickstart", "--print_config", "--no-bf16", max_steps=3).out)
    assert (shown["bf16"], shown["max_steps"], shown["rule_reward"]) == (False, 3, "number")


@pytest.mark.parametrize("words", [[], ["--modality", "image"]], ids=str)
def test_its_help_says_what_it_does_and_what_else_there_is(words: list[str], lightrft: Callable[..., Any]) -> None:
    ended = lightrft("quickstart", *words, "--help")
    assert ended.code == 0 and ABOUT in ended.out and "--pretrain" in ended.out
    assert "\n  --modality            {text,image,video,audio,mixed}, default: text" in ended.out


def test_its_rule_makes_way_for_a_function_by_null_and_the_complaint_says_so(
    flags: dict[str, Any], lightrft: Callable[..., Any]
) -> None:
    refused = lightrft("quickstart", "--pretrain", flags["pretrain"], "--reward_fn", flags["reward_fn"])
    assert refused.code == 2 and "--rule_reward null" in refused.err
    shown = lightrft("quickstart", "--print_config", "--rule_reward", "null", "--reward_fn", flags["reward_fn"])
    assert yaml.safe_load(shown.out)["rule_reward"] is None
    assert "null is no value" in lightrft("quickstart", "--help").out


def test_its_problems_are_right_and_none_is_both_trained_on_and_held_out() -> None:
    train, held_out = problems("sums_train.jsonl"), problems("sums_heldout.jsonl")
    for problem in train + held_out:
        one, plus, other, equals, question = problem["input"].split()
        assert (plus, equals, question) == ("+", "=", "?")
        assert int(problem["label"]) == int(one) + int(other)
    assert len({problem["input"] for problem in train + held_out}) == len(train) + len(held_out)


def test_it_trains_any_model_on_its_problems(
    flags: dict[str, Any], lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    small = {"max_steps": 1, "rollout_batch_size": 2, "generate_max_len": 4, "eval_generate_max_len": 2}
    more = {name: flags[name] for name in ("pretrain", "output_dir", "reward_workers")}
    ended = lightrft("quickstart", "--no-apply_chat_template", **small, **more)
    assert ended.code == 0, ended.err
    assert ended.err.startswith("SmolLM2-135M learns to add")
    assert "also trained on" not in ended.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 1
    assert summary["accuracy_before"]["n"] == summary["accuracy_after"]["n"] == len(problems("sums_heldout.jsonl"))
