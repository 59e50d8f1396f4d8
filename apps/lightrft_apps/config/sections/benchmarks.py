"""What `lightrft eval` measures and compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightrft_apps.config.sections.data import DataArgs
from lightrft_apps.config.sections.model import ModelArgs


@dataclass(frozen=True)
class EvalModelArgs(ModelArgs):
    """The model"""

    pretrain: str = ""
    """model to evaluate: a folder, a name on the Hugging Face hub, or smollm2; needed unless others are compared"""


@dataclass(frozen=True)
class EvalDataArgs(DataArgs):
    """The prompts"""

    prompt_data: str = ""
    """held-out prompts: a file, a folder or a hub name, or geo3k:NAME by format; several separated by commas"""
    prompt_split: str = "test"
    """split of the prompt data"""


@dataclass(frozen=True)
class BenchmarkArgs:
    """Benchmarks"""

    benchmark: str | None = None
    """benchmarks: gsm8k math500 aime24 aime25 gpqa_diamond geo3k mmmu avqa livecodebench; several with commas; or
    gsm8k:FILE for rows that are here"""
    benchmark_path: str | None = None
    """where rows of benchmarks are: gsm8k=FILE,math500=FILE; default: their data sets on the hub"""
    benchmark_sampling: bool = True
    """where flags are not given, draw and judge as each benchmark's paper or leaderboard does"""


@dataclass(frozen=True)
class SearchArgs:
    """Test-time search"""

    search: Literal["best_of_n", "majority", "beam"] | None = None
    """one answer out of many: the best by reward models, the most frequent, or a beam over steps by a process model"""
    beam_width: int = 4
    """beams that are kept after each step"""
    beam_expand: int = 4
    """ways in which each of them is continued"""
    beam_separator: str = "\\n\\n"
    """text that ends a step; \\n is the end of a line"""
    beam_step_len: int = 256
    """longest step, in tokens"""


@dataclass(frozen=True)
class ComparisonArgs:
    """Comparison"""

    compare: str | None = None
    """models to compare on the same prompts with the same seed, each as FOLDER or NAME=FOLDER, separated by commas"""
    compare_reports: str | None = None
    """finished evaluations to compare: their output_dir, separated by commas; no model answers again"""
