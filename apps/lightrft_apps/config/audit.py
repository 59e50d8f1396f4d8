"""What `lightrft audit-logprobs` is told, and what its verdicts are drawn by."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

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
