"""The command line of `lightrft audit-logprobs`."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.audit import BUILT_IN, PASS, WARN, AuditCommand
from lightrft_apps.config.checks.attention import attention_problems
from lightrft_apps.config.checks.bounds import BOUNDS, out_of_bounds
from lightrft_apps.config.checks.engine import engine_problems
from lightrft_apps.config.checks.places import missing_source, unusable_folder
from lightrft_apps.config.checks.precision import precision_problems
from lightrft_apps.config.checks.prompts import prompt_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.parse import exit_on_config_error, parse

ABOUT = f"""\
Before you train: does the sampling engine agree with the trainer? Hand the weights over, sample answers, compute the
trainer's own log-probability of every sampled token, and compare.

gap      |trainer - engine| of a token, in nats; its mean and max over all tokens
outside  share of tokens whose probability differs by more than a factor of 2

         PASS                               WARN                             FAIL
float32  {PASS["float32"]!s:<34} {WARN["float32"]!s:<32} otherwise
--bf16   {PASS["bfloat16"]!s:<34} {WARN["bfloat16"]!s:<32} otherwise
--fp16, --fp8_rollout: as --bf16

PASS and WARN end with exit code 0, FAIL with 1. WARN: train with --enable_vllm_is_correction. FAIL: the likely causes
are printed; do not train before the one that holds is gone.

examples:
  lightrft audit-logprobs --pretrain MODEL --engine_type vllm
  lightrft audit-logprobs --pretrain MODEL --engine_type vllm --bf16 --prompt_data prompts.jsonl --output_dir audit"""


def parse_audit(argv: Sequence[str]) -> AuditCommand:
    """The checked configuration. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft audit-logprobs"):
        command = parse(AuditCommand, argv, prog="lightrft audit-logprobs", about=ABOUT)
        require_valid_audit(command)
        return command


def require_valid_audit(command: AuditCommand) -> None:
    """Raise ConfigError with everything that would stop the audit."""
    problems = [
        *out_of_bounds(to_flat(command), BOUNDS),
        *engine_problems(command),
        *precision_problems(command.model),
        *attention_problems(command.model),
        *missing_source("pretrain", command.model.pretrain),
    ]
    if command.data.prompt_data != BUILT_IN:
        problems += prompt_problems(command.data, None)
    if command.report.output_dir is not None:
        problems += unusable_folder(command.report.output_dir)
    if problems:
        raise ConfigError(problems)
