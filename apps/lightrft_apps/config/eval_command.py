"""The configuration and command line of `lightrft eval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lightrft_apps.config.bounds import BOUNDS, ZERO_OR_MORE, out_of_bounds
from lightrft_apps.config.engine_checks import engine_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.flat import to_flat
from lightrft_apps.config.lora_checks import adapters_for_models
from lightrft_apps.config.parse import exit_on_config_error, parse
from lightrft_apps.config.places import folder_of_a_run, missing_source, unusable_folder
from lightrft_apps.config.precision_checks import precision_problems
from lightrft_apps.config.prompt_checks import prompt_problems
from lightrft_apps.config.reward_checks import reward_problems
from lightrft_apps.config.sections import DataArgs, EngineArgs, JudgesArgs, ModelArgs, RewardArgs, SamplingArgs

ABOUT = """\
Answer held-out prompts with a model, judge the answers, and report accuracy with 95% confidence intervals.

examples:
  lightrft eval --pretrain runs/first/final --prompt_data heldout.jsonl --rule_reward number
  lightrft eval --pretrain MODEL --prompt_data heldout.jsonl --rule_reward number --temperature 1 \\
      --n_samples_per_prompt 8"""


@dataclass(frozen=True)
class AnswerArgs(SamplingArgs):
    """Answers"""

    temperature: float = 0.0
    """divides the logits; 0: greedy"""
    n_samples_per_prompt: int = 1
    """answers per prompt; with more than one, pass@k is reported"""
    seed: int = 42
    """the same seed gives the same answers"""


@dataclass(frozen=True)
class ReportArgs:
    """Report"""

    output_dir: str | None = None
    """folder, of no run, for eval.json, the answers as Parquet and rejected rows; default: print only"""
    progress: bool = True
    """show progress on the terminal"""


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Everything `lightrft eval` is told."""

    model: ModelArgs
    data: DataArgs
    reward: RewardArgs = field(default_factory=RewardArgs)
    judges: JudgesArgs = field(default_factory=JudgesArgs)
    answers: AnswerArgs = field(default_factory=AnswerArgs)
    engine: EngineArgs = field(default_factory=EngineArgs)
    report: ReportArgs = field(default_factory=ReportArgs)


def parse_eval(argv: Sequence[str]) -> EvalCommand:
    """The checked configuration. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft eval"):
        command = parse(EvalCommand, argv, prog="lightrft eval", about=ABOUT, defaults={"prompt_split": "test"})
        require_valid_eval(command)
        return command


def require_valid_eval(command: EvalCommand) -> None:
    """Raise ConfigError with everything that would stop the evaluation."""
    problems = [
        *reward_problems(command.reward, command.judges),
        *out_of_bounds(to_flat(command), BOUNDS | {"temperature": ZERO_OR_MORE}),
        *engine_problems(command),
        *precision_problems(command.model),
        *missing_source("pretrain", command.model.pretrain),
        *prompt_problems(command.data, None),
    ]
    if command.report.output_dir is not None:
        problems += [*unusable_folder(command.report.output_dir), *folder_of_a_run(command.report.output_dir)]
    if command.engine.engine_type != "embedded":
        problems += adapters_for_models({"pretrain": command.model.pretrain})
    samples = command.answers.n_samples_per_prompt
    if samples > 1 and command.answers.temperature == 0:
        problems.append(
            f"--n_samples_per_prompt {samples} at --temperature 0: all answers would be equal: "
            "set --temperature above 0, such as 1.0, or --n_samples_per_prompt to 1"
        )
    if problems:
        raise ConfigError(problems)
