"""YAML files: read, overridden, refused, printed, and kept so that they replay a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightrft_apps.config import ConfigError, RLConfig, parse_rl
from lightrft_apps.config.reading.files import yaml_of

RECIPE = """\
pretrain: model
prompt_data: prompts
output_dir: run
rule_reward: number:1.0
actor_learning_rate: 1e-6
bf16: true
adam_betas: [0.8, 0.9]
reward_routes:
  math: number:1.0
max_steps: 3
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def refused(capsys: pytest.CaptureFixture[str], path: Path, text: str) -> list[str]:
    """What is said about a file with this text, without the file's folder."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        parse_rl(["--config", str(path)])
    assert end.value.code == 2
    return capsys.readouterr().err.replace(f"{path.parent}/", "").splitlines()


def test_a_file_holds_the_flags_by_name(recipe: Path) -> None:
    config = parse_rl(["--config", str(recipe)])
    assert config.model.bf16 is True
    assert config.train.actor_learning_rate == 1e-6
    assert config.train.adam_betas == (0.8, 0.9)
    assert config.reward.reward_routes == {"math": "number:1.0"}
    assert config.rollout.rollout_batch_size == 128


def test_flags_win_over_the_file_wherever_they_stand(recipe: Path) -> None:
    config = parse_rl(["--max_steps", "9", "--config", str(recipe), "--no-bf16"])
    assert (config.train.max_steps, config.model.bf16, config.model.pretrain) == (9, False, "model")


def test_a_file_may_name_a_flag_by_its_opposite(recipe: Path, tmp_path: Path) -> None:
    sleepless = tmp_path / "sleepless.yaml"
    sleepless.write_text(recipe.read_text() + "disable_engine_sleep: true\n", encoding="utf-8")
    assert RLConfig.from_file(sleepless).engine.enable_engine_sleep is False


def test_lists_and_mappings_survive_their_file(recipe: Path, tmp_path: Path) -> None:
    flags = ["--stop_token_ids", "5", "7", "--logit_bias", '{"5": -100}', "--stop", '["\\n", "User:"]']
    config = parse_rl(["--config", str(recipe), *flags])
    config.save(tmp_path / "config.yaml", {})
    assert RLConfig.from_file(tmp_path / "config.yaml") == config


def test_a_later_file_wins_over_an_earlier_one(recipe: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("max_steps: 4\n", encoding="utf-8")
    assert parse_rl(["--config", str(recipe), "--config", str(more)]).train.max_steps == 4


def test_files_win_over_the_commands_own_defaults(recipe: Path) -> None:
    config = parse_rl(["--config", str(recipe)], defaults={"max_steps": 1, "seed": 5})
    assert (config.train.max_steps, config.run.seed) == (3, 5)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("pretrian: x\n", "recipe.yaml: unknown name pretrian; did you mean pretrain?"),
        ("seed: x\n", "recipe.yaml: seed: x: expected a whole number"),
        ("seed: null\n", "recipe.yaml: seed: null: expected a whole number"),
        ("pretrain: 7\n", "recipe.yaml: pretrain: 7: expected text (in quotes)"),
        ("bf16: 1\n", "recipe.yaml: bf16: 1: expected true or false"),
        ("disable_engine_sleep: 1\n", "recipe.yaml: disable_engine_sleep: 1: expected true or false"),
        ("disable_engine_sleep: null\n", "recipe.yaml: disable_engine_sleep: null: expected true or false"),
        ("stop_token_ids: 5\n", "recipe.yaml: stop_token_ids: 5: expected whole numbers, such as 5 7"),
        ("logit_bias: {5: 1}\n", "recipe.yaml: logit_bias: {5: 1}: expected names (in quotes) with a number each"),
        ("no-bf16: true\n", "recipe.yaml: unknown name no-bf16; did you mean bf16?"),
        ("loss_agg_mode: mean\n", "recipe.yaml: loss_agg_mode: mean: expected one of token-mean, "),
        ("reward_routes: {1: a}\n", "recipe.yaml: reward_routes: {1: a}: expected names with a text each"),
        ("reward_routes: {2024-01-01: [a]}\n", "recipe.yaml: reward_routes: {2024-01-01: a}: expected names with"),
        ("output_dir: 2024-01-01\n", "recipe.yaml: output_dir: 2024-01-01: expected text (in quotes)"),
        ("seed: 1\nseed: 2\n", "recipe.yaml: seed is given twice; keep one of the two"),
        ("- seed\n", "recipe.yaml: expected lines of `name: value`"),
        ("seed: [1\n", "recipe.yaml: not valid YAML: while parsing a flow sequence"),
    ],
)
def test_a_wrong_line_is_named_with_its_file(
    capsys: pytest.CaptureFixture[str], recipe: Path, text: str, line: str
) -> None:
    lines = refused(capsys, recipe, text)
    assert len(lines) == 1
    assert lines[0].startswith(f"lightrft rl: {line}")


def test_a_file_that_is_not_there_or_not_text_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, reason in (
        (tmp_path / "absent.yaml", "no such file or directory"),
        (tmp_path, "is a directory"),
        (binary, "not a text file in UTF-8"),
    ):
        with pytest.raises(SystemExit):
            parse_rl(["--config", str(path)])
        error = capsys.readouterr().err
        assert str(path) in error
        assert reason in error


def test_print_config_prints_every_value_and_asks_for_nothing(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    for argv in (["--print_config", "--seed", "7"], ["--config", str(recipe), "--print_config", "--temperature", "0"]):
        with pytest.raises(SystemExit) as end:
            parse_rl(argv)
        assert end.value.code == 0
        printed = yaml.safe_load(capsys.readouterr().out)
        assert list(printed) == list(RLConfig.create(pretrain="m", prompt_data="p", output_dir="o").to_flat())
    assert printed["pretrain"] == "model"
    assert printed["temperature"] == 0


def test_printed_configuration_replays_the_command(
    capsys: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path
) -> None:
    argv = ["--config", str(recipe), "--seed", "9", "--system_prompt", "# Rules\nBe brief: yes"]
    with pytest.raises(SystemExit):
        parse_rl([*argv, "--print_config"])
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out, encoding="utf-8")
    assert parse_rl(["--config", str(printed)]) == parse_rl(argv)


def test_a_kept_configuration_replays_the_run_and_its_record_is_not_read(recipe: Path, tmp_path: Path) -> None:
    config = parse_rl(["--config", str(recipe)])
    kept = tmp_path / "config.yaml"
    config.save(kept, {"revision": "abc123", "packages": {"torch": "2.13.0"}, "pretrain": "ignored"})
    assert RLConfig.from_file(kept) == config
    assert parse_rl(["--config", str(kept)]) == config
    assert yaml.safe_load(kept.read_text())["_record"]["packages"] == {"torch": "2.13.0"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "recipe.yaml"]


def test_what_is_missing_in_a_file_read_from_python_is_said(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text("seed: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="pretrain is needed"):
        RLConfig.from_file(path)


@example(text="a\x85b\u2028c", rate=1e-6, betas=(0.9, 0.95), routes={"math": "number:1.0"})
@example(text="# Rules\n- be brief", rate=1e-8, betas=(0.0, 1.0), routes=None)
@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8")),
    rate=st.floats(min_value=1e-12, max_value=1e6),
    betas=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    routes=st.none() | st.dictionaries(st.text(st.characters(codec="ascii")), st.text(), max_size=3),
)
def test_any_configuration_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    rate: float,
    betas: tuple[float, float],
    routes: dict[str, str] | None,
) -> None:
    config = RLConfig.create(
        pretrain=text,
        prompt_data="p",
        output_dir="o",
        system_prompt=text,
        actor_learning_rate=rate,
        adam_betas=betas,
        reward_routes=routes,
    )
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    config.save(path, {})
    assert RLConfig.from_file(path) == config
    assert yaml.safe_load(yaml_of(RLConfig, config.to_flat()))["actor_learning_rate"] == rate
