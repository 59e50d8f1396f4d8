"""Rules across flags: everything that would stop or spoil a run is said before a model loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.config import ConfigError, RLConfig, check, require_valid, rules_by_route
from lightrft_apps.config.checks.bounds import BOUNDS
from lightrft_apps.config.reading.schema import fields_of

GOOD: dict[str, Any] = {
    "pretrain": "model",
    "prompt_data": "prompts",
    "output_dir": "run",
    "rule_reward": "number:1.0",
}


def problems(**flat: Any) -> list[str]:
    return check(RLConfig.create(**GOOD | flat))


def only_problem(**flat: Any) -> str:
    (problem,) = problems(**flat)
    return problem


def test_a_sound_configuration_has_no_problems() -> None:
    assert problems() == []
    require_valid(RLConfig.create(**GOOD))


def test_all_problems_are_raised_together() -> None:
    with pytest.raises(ConfigError) as refused:
        require_valid(RLConfig.create(**GOOD | {"rule_reward": None}, top_p=0, temperature=0))
    assert len(refused.value.problems) == 3


def test_something_has_to_judge() -> None:
    problem = only_problem(rule_reward=None, reward_routes={})
    assert "--rule_reward" in problem
    assert "--reward_routes" in problem
    assert "--reward_fn file.py:function" in problem
    assert problems(rule_reward=None, reward_routes={"math": "number:1.0"}) == []


def test_a_function_and_rules_do_not_judge_together(tmp_path: Path) -> None:
    file = tmp_path / "judge.py"
    file.write_text("")
    assert problems(rule_reward=None, reward_fn=f"{file}:judge") == []
    assert "leave out --reward_fn or --rule_reward" in only_problem(reward_fn=f"{file}:judge")


@pytest.mark.parametrize("reward_fn", ["judge.py", "judge.py:", "judge.py:not a name"])
def test_a_reward_function_is_named_by_file_and_function(reward_fn: str) -> None:
    assert only_problem(rule_reward=None, reward_fn=reward_fn).endswith("set it to file.py:function")


def test_a_missing_reward_file_is_named() -> None:
    assert "there is no file nowhere/judge.py" in only_problem(rule_reward=None, reward_fn="nowhere/judge.py:judge")


def test_an_optimiser_step_cannot_take_more_samples_than_a_step_makes() -> None:
    problem = only_problem(train_batch_size=33, rollout_batch_size=8, n_samples_per_prompt=4)
    assert "8 prompts x 4 samples = 32 rollouts" in problem
    assert "set it to 32 or less" in problem


def test_the_last_optimiser_step_may_be_smaller() -> None:
    assert problems(train_batch_size=24, rollout_batch_size=8, n_samples_per_prompt=4) == []


@pytest.mark.parametrize("estimator", [None, "group_norm"])
def test_a_group_of_one_has_no_signal(estimator: str | None) -> None:
    problem = only_problem(n_samples_per_prompt=1, advantage_estimator=estimator)
    assert "a group of one has no signal: set --n_samples_per_prompt to 2 or more" in problem


def test_unknown_rows_and_estimators_are_answered_with_the_known_ones() -> None:
    assert "grpo" in only_problem(algorithm="grop")
    assert "group_norm" in only_problem(advantage_estimator="groupnorm")


def test_equal_evaluation_samples_are_refused() -> None:
    problem = only_problem(eval_n_samples_per_prompt=4, eval_dataset="held-out")
    assert "all samples would be equal: set --eval_temperature" in problem
    assert problems(eval_n_samples_per_prompt=4, eval_temperature=0.6, eval_dataset="held-out") == []


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("eval_split", "validation"),
        ("eval_max_samples", 5),
        ("eval_temperature", 0.5),
        ("eval_generate_max_len", 9),
        ("eval_n_samples_per_prompt", 2),
    ],
)
def test_flags_of_an_evaluation_need_one(flag: str, value: Any) -> None:
    warm = {"eval_temperature": 0.6} if flag == "eval_n_samples_per_prompt" else {}
    needless = [problem for problem in problems(**{flag: value} | warm) if problem.startswith(f"--{flag} ")]
    assert needless == [f"--{flag} has no effect: set --eval_dataset, or leave --{flag} out"]
    assert problems(**{flag: value} | warm, eval_dataset="held-out") == []


def test_evaluating_on_the_way_needs_something_to_evaluate_on() -> None:
    assert "--eval_dataset" in only_problem(eval_steps=5)
    assert problems(eval_steps=5, eval_dataset="held-out") == []


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("temperature", 0, "such as 1.0"),
        ("temperature", -0.5, "above 0"),
        ("top_p", 0, "above 0 and at most 1"),
        ("top_p", 1.1, "above 0 and at most 1"),
        ("top_k", -1, "0 to sample from all tokens"),
        ("actor_learning_rate", 0, "such as 1e-6"),
        ("adam_betas", (0.9, 1.0), "such as 0.9 0.95"),
        ("adam_betas", (-0.1, 0.9), "such as 0.9 0.95"),
        ("lr_warmup_ratio", 1.5, "from 0 to 1"),
        ("lr_warmup_ratio", -0.1, "from 0 to 1"),
        ("save_steps", 0, "-1 to save only at the end"),
        ("eval_steps", 0, "-1 to evaluate only before and after"),
        ("max_steps", 0, "1 or more"),
        ("rollout_batch_size", 0, "1 or more"),
        ("max_reward_error_share", 2, "from 0 to 1"),
        ("l2", float("inf"), "0 or more"),
        ("eps_clip", float("nan"), "above 0"),
    ],
)
def test_numbers_out_of_range_are_told_with_what_to_set(name: str, value: Any, instead: str) -> None:
    problem = only_problem(**{name: value})
    assert problem.startswith(f"--{name} ")
    assert "set it to" in problem
    assert instead in problem


def test_no_number_may_be_below_what_its_flag_allows() -> None:
    numbers = {name for name, field in fields_of(RLConfig).items() if field.type in (int, float)}
    assert numbers - set(BOUNDS) == set()
    positive = numbers - {"stop_properly_penalty_coef"}  # a negative one is a reward
    told = " ".join(problems(**dict.fromkeys(positive, -2)))
    assert all(f"--{name} -2" in told for name in positive)


CONTEXT: dict[str, dict[str, Any]] = {
    "critic_pretrain": {"algorithm": "ppo"},
    "teacher_pretrain": {"teacher_kl_coef": 0.1},
}


@pytest.mark.parametrize("flag", ["pretrain", "prompt_data", "eval_dataset", *CONTEXT])
def test_what_looks_like_a_path_has_to_be_there(flag: str, tmp_path: Path) -> None:
    def problems(**flat: Any) -> list[str]:
        return check(RLConfig.create(**GOOD | CONTEXT.get(flag, {}) | flat))

    for absent in ("./nothing", str(tmp_path / "nothing"), "nothing.jsonl", "nowhere/nothing.parquet"):
        (problem,) = problems(**{flag: absent})
        assert problem.startswith(f"--{flag} {absent}: there is no such file or folder")
    (tmp_path / "here.jsonl").write_text("")
    assert problems(**{flag: str(tmp_path / "here.jsonl")}) == []
    assert problems(**{flag: "someone/on-the-hub"}) == []


def test_every_one_of_several_sources_is_looked_for(tmp_path: Path) -> None:
    here = tmp_path / "here.jsonl"
    here.write_text("")
    assert "gone.jsonl" in only_problem(prompt_data=f"{here},gone.jsonl")
    assert "gone.jsonl" in only_problem(eval_dataset=f"{here},gone.jsonl")
    assert "empty source" in only_problem(prompt_data="a,,b")
    assert only_problem(eval_dataset="a,").startswith("--eval_dataset a,: names an empty source")
    assert problems(prompt_data="reasoning_gym:chain_sum?size=500&seed=7,openai/gsm8k?name=main") == []


@pytest.mark.parametrize("probabilities", ["0.5", "0.5,x", "0.5,-1", "0,0", "0.3,0.3,0.4", "nan,1"])
def test_probabilities_are_one_number_a_source(probabilities: str) -> None:
    assert only_problem(prompt_data="a,b", prompt_data_probs=probabilities).startswith("--prompt_data_probs ")


def test_sound_probabilities_are_accepted() -> None:
    assert problems(prompt_data="a,b", prompt_data_probs="0.7, 0.3") == []


def test_the_input_template_has_one_place_for_the_input() -> None:
    assert only_problem(input_template="no place").startswith("--input_template")
    assert problems(input_template="Q: {}\nA:") == []


def test_rules_have_to_exist() -> None:
    assert only_problem(rule_reward="nubmer:1.0").startswith("--rule_reward nubmer:1.0: ")
    assert only_problem(reward_routes={"math": "nubmer:1.0"}).startswith('--reward_routes "math" nubmer:1.0: ')


def test_rule_reward_is_the_route_without_a_name() -> None:
    config = RLConfig.create(**GOOD, reward_routes={"math": "number:1.0,format:0.2"})
    assert rules_by_route(config.reward) == {"": "number:1.0", "math": "number:1.0,format:0.2"}
    assert 'an entry ""' in only_problem(reward_routes={"": "format:1.0"})
    assert problems(rule_reward=None, reward_routes={"": "format:1.0"}) == []


def test_output_goes_to_a_folder_and_not_into_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file; set it to a folder" in only_problem(output_dir=str(file))
    assert f"{file} is a file" in only_problem(output_dir=str(file / "run"))
    assert problems(output_dir=str(tmp_path)) == []
    assert "such as runs/first" in only_problem(output_dir="")
