"""The command line of `lightrft eval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lightrft_apps.config.checks.attention import attention_problems
from lightrft_apps.config.checks.bounds import BOUNDS, ONE_OR_MORE, ZERO_OR_MORE, out_of_bounds
from lightrft_apps.config.checks.engine import engine_problems
from lightrft_apps.config.checks.eval import eval_problems
from lightrft_apps.config.checks.precision import precision_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.parse import exit_on_config_error, parse_with_given

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
        *attention_problems(command.model),
        *eval_problems(command),
    ]
    if problems:
        raise ConfigError(problems)
