"""Whether what `lightrft eval` is told fits together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightrft_apps.config.checks.effects import Condition, without_effect
from lightrft_apps.config.checks.lora import adapters_for_models
from lightrft_apps.config.checks.places import folder_of_a_run, missing_source, unusable_folder
from lightrft_apps.config.checks.prompts import prompt_problems
from lightrft_apps.config.checks.reward import judge_names, reward_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.named_models import named_models
from lightrft_apps.config.sections import JudgesArgs, RewardArgs
from lightrft_apps.config.settling import Settled, settled

if TYPE_CHECKING:
    from lightrft_apps.config.eval import EvalCommand

BY_MODELS = ("best_of_n", "beam")
"""Searches that reward models steer."""


def eval_problems(command: EvalCommand) -> Iterator[str]:
    """What to change before anything is loaded."""
    yield from without_effect(command, _conditions(command))
    if command.report.output_dir is not None:
        yield from unusable_folder(command.report.output_dir)
        yield from folder_of_a_run(command.report.output_dir)
    if command.comparison.compare_reports is not None:
        yield from _report_problems(command)
        return
    yield from _model_problems(command)
    try:
        asked = settled(command)
    except ConfigError as error:
        yield from error.problems
        return
    yield from _source_problems(command, asked)
    for each in asked:
        yield from _answer_problems(command, each)
    yield from _judge_problems(command)


def compared_models(compare: str) -> dict[str, str]:
    """name -> folder of the models of --compare. Raises ConfigError if there are not two, or two have one name."""
    try:
        models = named_models(compare)
    except ConfigError as error:
        raise ConfigError([problem.replace("--reward_pretrain", "--compare") for problem in error.problems]) from error
    if len(models) < 2:
        raise ConfigError([f"--compare {compare}: there is nothing to compare with: name two models or more: A,B"])
    return models


def compared_reports(compare_reports: str) -> list[Path]:
    """The folders of --compare_reports. Raises ConfigError if there are not two, or one holds no evaluation."""
    folders = [Path(folder.strip()).expanduser() for folder in compare_reports.split(",")]
    problems = [
        f"--compare_reports {folder}: there is no eval.json in it: name the --output_dir of a finished evaluation"
        for folder in folders
        if not (folder / "eval.json").is_file()
    ]
    if len(set(folders)) < 2:
        problems.append(f"--compare_reports {compare_reports}: name two folders or more, each once")
    if problems:
        raise ConfigError(problems)
    return folders


def _conditions(command: EvalCommand) -> Iterator[Condition]:
    beams = ("beam_width", "beam_expand", "beam_separator", "beam_step_len")
    yield beams, command.search.search == "beam", "set --search beam"
    yield ("benchmark_path", "benchmark_sampling"), command.benchmarks.benchmark is not None, "set --benchmark"


def _report_problems(command: EvalCommand) -> Iterator[str]:
    others = {
        "pretrain": command.model.pretrain,
        "compare": command.comparison.compare,
        "prompt_data": command.data.prompt_data,
        "benchmark": command.benchmarks.benchmark,
    }
    given = [f"--{name}" for name, value in others.items() if value]
    if given:
        yield f"--compare_reports reads evaluations that are finished: leave {' and '.join(given)} out"
    try:
        compared_reports(command.comparison.compare_reports or "")
    except ConfigError as error:
        yield from error.problems


def _model_problems(command: EvalCommand) -> Iterator[str]:
    pretrain, compare = command.model.pretrain, command.comparison.compare
    if compare is None:
        if not pretrain:
            yield "--pretrain is needed: the model to evaluate; or --compare A,B for several"
            return
        models = {"pretrain": pretrain}
    else:
        if pretrain:
            yield "--pretrain names a model and --compare others: leave one of them out"
        try:
            models = {f"compare {name}": folder for name, folder in compared_models(compare).items()}
        except ConfigError as error:
            yield from error.problems
            return
    for flag, folder in models.items():
        yield from missing_source(flag, folder)
    if command.engine.engine_type != "embedded":
        yield from adapters_for_models(models)


def _source_problems(command: EvalCommand, asked: list[Settled]) -> Iterator[str]:
    prompt_data, benchmark = command.data.prompt_data, command.benchmarks.benchmark
    if prompt_data and benchmark is not None:
        yield "--prompt_data and --benchmark are given: evaluate on one of them at a time"
    if not prompt_data and benchmark is None:
        yield "--prompt_data is needed, or --benchmark, such as gsm8k: what the model is asked"
        return
    for each in asked:
        if each.chosen is None:
            yield from prompt_problems(each.data, None)
        else:
            yield from missing_source(f"benchmark {each.name}", each.chosen.place)
    if benchmark is not None:
        for name in ("rule_reward", "reward_routes", "reward_fn"):
            if getattr(command.reward, name) is not None:
                yield f"--{name}: a benchmark is judged by its own rule: leave --{name} out"


def _answer_problems(command: EvalCommand, asked: Settled) -> Iterator[str]:
    answers, search = asked.answers, command.search
    of = f" (of {asked.name})" if asked.name else ""
    samples, greedy = answers.n_samples_per_prompt, answers.temperature == 0
    if samples > 1 and greedy:
        yield (
            f"--n_samples_per_prompt {samples} at --temperature 0{of}: all answers would be equal: "
            "set --temperature above 0, such as 1.0, or --n_samples_per_prompt to 1"
        )
    if search.search in ("best_of_n", "majority") and samples < 2:
        yield f"--search {search.search}{of}: there is one answer to choose from: set --n_samples_per_prompt and " + (
            "--temperature above 0, such as 8 and 1.0"
        )
    if search.search == "beam":
        if search.beam_expand > 1 and greedy:
            yield f"--beam_expand {search.beam_expand} at --temperature 0{of}: all continuations would be equal: " + (
                "set --temperature above 0, such as 1.0, or --beam_expand to 1"
            )
        if command.answers.n_samples_per_prompt != 1:
            yield "--n_samples_per_prompt has no effect on --search beam: set --beam_width and --beam_expand"
        if not search.beam_separator:
            yield "--beam_separator: an empty text ends no step: set it to a text, such as \\n\\n"


def _judge_problems(command: EvalCommand) -> Iterator[str]:
    search, benchmark = command.search.search, command.benchmarks.benchmark
    nobody = JudgesArgs()
    if search in BY_MODELS:
        try:
            named = judge_names(command.judges)
        except ConfigError as error:
            yield from error.problems
            return
        if not named:
            yield (
                f"--search {search}: nothing says which answer is better: set --reward_pretrain, --remote_rm_url or "
                + ("--llm_judge_url")
            )
        else:
            yield from reward_problems(RewardArgs(), command.judges)
        if benchmark is None:
            yield from reward_problems(command.reward, nobody)
    elif benchmark is not None:
        given = [field.name for field in fields(JudgesArgs) if getattr(command.judges, field.name) != field.default]
        if given:
            yield (
                f"--{given[0]} has no effect: a benchmark is judged by its rule: set --search best_of_n, or leave it "
                + ("out")
            )
    elif search == "majority":
        yield from reward_problems(command.reward, nobody)
    else:
        yield from reward_problems(command.reward, command.judges)
    if search == "majority":
        yield from _voting_problems(command)


def _voting_problems(command: EvalCommand) -> Iterator[str]:
    from lightrft_apps.config.voting import voting_rules

    for each in settled(replace(command, judges=JudgesArgs())):
        if not any(voting_rules(each.reward).values()):
            of = f" of {each.name}" if each.name else ""
            yield (
                f"--search majority: no rule{of} reads an answer that could be counted: take best_of_n, or a rule "
                + ("such as number, boxed or multiple_choice")
            )
