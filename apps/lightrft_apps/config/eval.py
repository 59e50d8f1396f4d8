"""What `lightrft eval` is told."""

from __future__ import annotations

from dataclasses import dataclass, field

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
