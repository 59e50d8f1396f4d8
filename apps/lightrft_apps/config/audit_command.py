"""The configuration and command line of `lightrft audit-logprobs`, and what its verdicts are drawn by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from lightrft_apps.config.bounds import BOUNDS, out_of_bounds
from lightrft_apps.config.engine_checks import engine_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.flat import to_flat
from lightrft_apps.config.parse import exit_on_config_error, parse
from lightrft_apps.config.places import missing_source, unusable_folder
from lightrft_apps.config.precision_checks import precision_problems
from lightrft_apps.config.prompt_checks import prompt_problems
from lightrft_apps.config.sections import DataArgs, EngineArgs, ModelArgs, SamplingArgs


@dataclass(frozen=True)
class Limits:
    """What the gap between trainer and engine must lie below. mean, largest: nats; outside: share of the tokens."""

    mean: float = inf
    largest: float = inf
    outside: float = inf

    def admits(self, mean: float, largest: float, outside: float) -> bool:
        """Whether all three lie below; numbers that are none never do."""
        return mean < self.mean and largest < self.largest and outside < self.outside

    def __str__(self) -> str:
        named = {"mean": f"{self.mean:g}", "max": f"{self.largest:g}", "outside": f"{self.outside:g}"}
        return " and ".join(f"{name} < {limit}" for name, limit in named.items() if limit != "inf")


HALF = (Limits(mean=0.05, outside=0.005), Limits(mean=0.2, outside=0.05))
PASS = {"float32": Limits(largest=1e-4), "bfloat16": HALF[0], "float16": HALF[0]}
WARN = {"float32": Limits(largest=1e-2), "bfloat16": HALF[1], "float16": HALF[1]}
"""By what the two compute in. An engine in eight bits is held to the limits of bfloat16."""

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

BUILT_IN = "built-in"


@dataclass(frozen=True)
class AuditDataArgs(DataArgs):
    """The prompts"""

    prompt_data: str = BUILT_IN
    """prompts to answer: a file, a folder or a hub name; built-in: a few short and long ones that come along"""
    max_samples: int | None = 16
    """use only the first so many rows of each source"""


@dataclass(frozen=True)
class AuditAnswerArgs(SamplingArgs):
    """Answers"""

    generate_max_len: int = 64
    """longest answer, in tokens"""
    n_samples_per_prompt: int = 4
    """answers per prompt"""
    seed: int = 42
    """the same seed gives the same answers"""


@dataclass(frozen=True)
class AuditReportArgs:
    """Report"""

    output_dir: str | None = None
    """folder for audit.json; default: print only"""
    progress: bool = True
    """show progress on the terminal"""


@dataclass(frozen=True, kw_only=True)
class AuditCommand:
    """Everything `lightrft audit-logprobs` is told."""

    model: ModelArgs
    engine: EngineArgs = field(default_factory=EngineArgs)
    data: AuditDataArgs = field(default_factory=AuditDataArgs)
    answers: AuditAnswerArgs = field(default_factory=AuditAnswerArgs)
    report: AuditReportArgs = field(default_factory=AuditReportArgs)


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
        *missing_source("pretrain", command.model.pretrain),
    ]
    if command.data.prompt_data != BUILT_IN:
        problems += prompt_problems(command.data, None)
    if command.report.output_dir is not None:
        problems += unusable_folder(command.report.output_dir)
    if problems:
        raise ConfigError(problems)
