"""The configuration and command line of `lightrft eval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lightrft_apps.config.bounds import BOUNDS, ONE_OR_MORE, ZERO_OR_MORE, out_of_bounds
from lightrft_apps.config.engine_checks import engine_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.eval_checks import eval_problems
from lightrft_apps.config.flat import to_flat
from lightrft_apps.config.parse import exit_on_config_error, parse_with_given
from lightrft_apps.config.precision_checks import precision_problems
from lightrft_apps.config.sections import (
    BenchmarkArgs,
    ComparisonArgs,
    EngineArgs,
    EvalDataArgs,
    EvalModelArgs,
    JudgesArgs,
    RewardArgs,
    SamplingArgs,
    SearchArgs,
)

ABOUT = """\
Answer held-out prompts with a model, judge the answers, and report accuracy with 95% confidence intervals: on prompts
of your own, or on benchmarks as they are published. Of several answers to a prompt also pass@k, and maj@k by a vote.
--compare does so for several models and tests whether one is better; --search spends more on every answer: a vote, the
best of n by a reward model, or a beam search by a process reward model. docs/source/best_practice/evaluation.md says
exactly what each number is.

examples:
  lightrft eval --pretrain runs/first/final --prompt_data heldout.jsonl --rule_reward number
  lightrft eval --pretrain MODEL --prompt_data heldout.jsonl --rule_reward number --temperature 1 \\
      --n_samples_per_prompt 8
  lightrft eval --pretrain MODEL --benchmark gsm8k,math500 --apply_chat_template --output_dir evals/base
  lightrft eval --compare MODEL,runs/first/final --benchmark gsm8k:test.jsonl --apply_chat_template
  lightrft eval --compare_reports evals/base,evals/trained"""


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
    """folder, of no run, for eval.json, problems and answers as Parquet, and rejected rows; default: print only"""
    subgroup_keys: str | None = None
    """columns whose values are reported apart, such as level,subject; of a benchmark, besides its own"""
    progress: bool = True
    """show progress on the terminal"""


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Everything `lightrft eval` is told."""

    model: EvalModelArgs = field(default_factory=EvalModelArgs)
    data: EvalDataArgs = field(default_factory=EvalDataArgs)
    benchmarks: BenchmarkArgs = field(default_factory=BenchmarkArgs)
    comparison: ComparisonArgs = field(default_factory=ComparisonArgs)
    reward: RewardArgs = field(default_factory=RewardArgs)
    judges: JudgesArgs = field(default_factory=JudgesArgs)
    answers: AnswerArgs = field(default_factory=AnswerArgs)
    search: SearchArgs = field(default_factory=SearchArgs)
    engine: EngineArgs = field(default_factory=EngineArgs)
    report: ReportArgs = field(default_factory=ReportArgs)
    given: frozenset[str] = frozenset()
    """Names of the flags that the command line and its files set, be it to their default."""


_BOUNDS = BOUNDS | {
    "temperature": ZERO_OR_MORE,
    "beam_width": ONE_OR_MORE,
    "beam_expand": ONE_OR_MORE,
    "beam_step_len": ONE_OR_MORE,
}


def parse_eval(argv: Sequence[str]) -> EvalCommand:
    """The checked configuration. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft eval"):
        parsed, given = parse_with_given(EvalCommand, argv, prog="lightrft eval", about=ABOUT)
        command = replace(parsed, given=given)
        require_valid_eval(command)
        return command


def require_valid_eval(command: EvalCommand) -> None:
    """Raise ConfigError with everything that would stop the evaluation."""
    problems = [
        *out_of_bounds(to_flat(command), _BOUNDS),
        *engine_problems(command),
        *precision_problems(command.model),
        *eval_problems(command),
    ]
    if problems:
        raise ConfigError(problems)
