"""Flags: what they accept, which value wins, and what a person reads when one is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_apps.config import RLConfig, parse_rl

NEEDED = ["--pretrain", "model", "--prompt_data", "prompts", "--output_dir", "run", "--rule_reward", "number:1.0"]


def parse(*argv: str) -> RLConfig:
    return parse_rl([*NEEDED, *argv])


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """The lines on stderr when the command line is refused."""
    with pytest.raises(SystemExit) as refused:
        parse_rl(argv)
    assert refused.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_flags_land_in_their_sections() -> None:
    config = parse("--n_samples_per_prompt", "4", "--actor_learning_rate", "2e-5", "--kl_estimator=k2", "--seed", "7")
    assert config.model.pretrain == "model"
    assert config.rollout.n_samples_per_prompt == 4
    assert config.train.actor_learning_rate == 2e-5
    assert config.divergence.kl_estimator == "k2"
    assert config.run.seed == 7


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--bf16"], True),
        (["--bf16", "--seed", "1"], True),
        (["--bf16", "true"], True),
        (["--bf16=True"], True),
        (["--bf16", "false"], False),
        (["--bf16", "--no-bf16"], False),
        (["--no-bf16", "--bf16"], True),
        ([], False),
    ],
)
def test_a_true_or_false_flag_stands_alone_is_negated_or_takes_a_value(argv: list[str], value: bool) -> None:
    assert parse(*argv).model.bf16 is value


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--disable_engine_sleep"], False),
        (["--disable_engine_sleep", "true"], False),
        (["--disable_engine_sleep=false"], True),
        (["--no-disable_engine_sleep"], True),
        (["--no-enable_engine_sleep"], False),
        (["--disable_engine_sleep", "--enable_engine_sleep"], True),
    ],
)
def test_a_flag_may_be_named_by_its_opposite(argv: list[str], value: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_rl([*argv, "--print_config"])
    assert f"\nenable_engine_sleep: {str(value).lower()}\n" in capsys.readouterr().out


def test_a_flag_that_is_on_by_default_can_be_negated() -> None:
    assert parse().run.progress is True
    assert parse("--no-progress").run.progress is False


@pytest.mark.parametrize("words", [["0.8", "0.99"], ["0.8,0.99"], ["[0.8, 0.99]"], ["(0.8,", "0.99)"]])
def test_a_pair_of_numbers_may_be_written_in_several_ways(words: list[str]) -> None:
    assert parse("--adam_betas", *words, "--seed", "3").train.adam_betas == (0.8, 0.99)


@pytest.mark.parametrize("words", [["5", "7"], ["5,7"], ["[5, 7]"], ["5", "--stop_token_ids", "5 7"]])
def test_any_number_of_tokens_may_be_listed(words: list[str]) -> None:
    assert parse("--stop_token_ids", *words, "--seed", "3").rollout.stop_token_ids == (5, 7)
    assert parse("--stop_token_ids=9").rollout.stop_token_ids == (9,)


def test_a_mapping_is_written_as_json() -> None:
    assert parse("--logit_bias", '{"5": -100, "7": 0.5}').rollout.logit_bias == {"5": -100.0, "7": 0.5}
    config = parse("--reward_routes", '{"math": "number:1.0,format:0.2"}')
    assert config.reward.reward_routes == {"math": "number:1.0,format:0.2"}


def test_null_takes_an_optional_value_away() -> None:
    assert parse("--max_samples", "5", "--max_samples", "null").data.max_samples is None
    assert parse("--stop_token_ids", "5", "--stop_token_ids", "null").rollout.stop_token_ids is None
    assert parse("--logit_bias", '{"5": 1}', "--logit_bias", "null").rollout.logit_bias is None
    assert parse("--system_prompt", "Be kind", "--system_prompt", "null").data.system_prompt is None


def test_the_last_of_two_equal_flags_wins() -> None:
    assert parse("--seed", "1", "--seed", "2").run.seed == 2


def test_negative_numbers_are_values_in_every_notation(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse("--save_steps", "-1").run.save_steps == -1
    assert "--actor_learning_rate -1e-06" in complaint(capsys, *NEEDED, "--actor_learning_rate", "-1e-6")[0]


@settings(max_examples=80, deadline=None)
@given(st.text(st.characters(codec="utf-8")).filter(lambda text: text != "null"))
def test_text_reaches_the_configuration_untouched(text: str) -> None:
    assert parse(f"--system_prompt={text}").data.system_prompt == text


@pytest.mark.parametrize("text", ["# Rules\n- be brief", "{}", "[1]", "&a", "007", "1e-6", "yes", "a: b", " x "])
def test_text_that_looks_like_yaml_stays_text(text: str) -> None:
    assert parse("--system_prompt", text).data.system_prompt == text
    assert parse("--input_key", text).data.input_key == text


def test_an_unknown_flag_is_answered_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    lines = complaint(capsys, "--pretrian", "model", "--bf17")
    assert lines == [
        "lightrft rl: unknown flag --pretrian; did you mean --pretrain?",
        "lightrft rl: unknown flag --bf17; did you mean --bf16?",
    ]


def test_hyphens_for_underscores_are_answered_with_the_right_spelling(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean --n_samples_per_prompt?" in complaint(capsys, "--n-samples-per-prompt", "4")[0]


def test_an_unknown_flag_far_from_all_others_points_to_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "--zzz") == ["lightrft rl: unknown flag --zzz; --help lists them all"]


def test_abbreviations_are_not_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "--pretrai", "model") == ["lightrft rl: unknown flag --pretrai; did you mean --pretrain?"]


def test_text_flags_cannot_be_negated(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "--no-pretrain") == [
        "lightrft rl: unknown flag --no-pretrain; did you mean --pretrain?",
    ]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--seed", "x"], "--seed x: expected a whole number"),
        (["--seed", "1.5"], "--seed 1.5: expected a whole number"),
        (["--max_steps", "many"], "--max_steps many: expected a whole number"),
        (["--temperature", "hot"], "--temperature hot: expected a number"),
        (["--temperature", "nan"], "--temperature nan: expected a number"),
        (["--bf16", "maybe"], "--bf16 maybe: expected true or false"),
        (["--kl_estimator", "k4"], "--kl_estimator k4: expected one of k1, k2, k3"),
        (["--adam_betas", "0.9"], "--adam_betas 0.9: expected 2 numbers, such as 0.9 0.95"),
        (
            ["--reward_routes", "math"],
            '--reward_routes math: expected names with a text each, such as {"math": "number:1.0"}',
        ),
        (["--stop_token_ids", "5", "x"], "--stop_token_ids 5 x: expected whole numbers, such as 5 7"),
        (["--stop_token_ids"], "--stop_token_ids needs a value"),
        (
            ["--logit_bias", '{"5": "x"}'],
            """--logit_bias {"5": "x"}: expected names (in quotes) with a number each, such as {"5": -100}""",
        ),
        (["--disable_engine_sleep", "maybe"], "--disable_engine_sleep maybe: expected true or false"),
        (["--engine_type", "hf"], "--engine_type hf: expected one of embedded, vllm, sglang"),
        (["--seed"], "--seed needs a value"),
        (["--seed", "--bf16"], "--seed needs a value"),
        (["--no-bf16", "true"], "--no-bf16 takes no value: remove 'true'"),
        (["--no-bf16=true"], "--no-bf16 takes no value: remove 'true'"),
        (["--print_config", "x"], "--print_config takes no value: remove 'x'"),
        (["--config"], "--config needs a value"),
        (["stray"], "unexpected 'stray': every value follows its --flag"),
    ],
)
def test_a_wrong_word_is_named_with_its_flag(capsys: pytest.CaptureFixture[str], argv: list[str], line: str) -> None:
    assert complaint(capsys, *NEEDED, *argv) == [f"lightrft rl: {line}"]


def test_all_wrong_values_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(complaint(capsys, *NEEDED, "--seed", "x", "--bf16", "maybe", "--top_p", "high")) == 3


def test_what_is_needed_is_asked_for_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    lines = complaint(capsys, "--pretrain", "model")
    assert [line.split(":")[1].strip() for line in lines] == ["--prompt_data is needed", "--output_dir is needed"]


def test_problems_across_flags_end_the_program_too(capsys: pytest.CaptureFixture[str]) -> None:
    lines = complaint(capsys, *NEEDED[:-2], "--temperature", "0")
    assert len(lines) == 2
    assert any("--rule_reward" in line for line in lines)
    assert any("--temperature" in line for line in lines)


def test_a_command_may_bring_its_own_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    defaults = {"pretrain": "small", "prompt_data": "sums", "output_dir": "run", "rule_reward": "number:1.0", "seed": 1}
    assert parse_rl([], defaults=defaults).run.seed == 1
    assert parse_rl(["--seed", "2"], defaults=defaults).run.seed == 2
    with pytest.raises(SystemExit):
        parse_rl(["--help"], prog="lightrft quickstart", defaults=defaults)
    shown = " ".join(capsys.readouterr().out.split())
    assert "(default: small)" in shown
    assert "(needed)" not in shown
