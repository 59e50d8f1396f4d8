"""The benchmarks that `lightrft eval --benchmark` knows: a row each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightrft_apps.config.errors import ConfigError

BOXED = "{}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
LETTER = "{}\n\nAnswer with the option's letter from the given choices directly."


@dataclass(frozen=True)
class Benchmark:
    """One benchmark, as it is published.

    form: the format of its rows, as --prompt_data names it. source: its data set on the Hugging Face hub; None: there
    is none whose rows can be read as they are, so that a file has to be named. split: of that data set.
    rule: what judges. template: written around each question. flags: how answers are drawn and judged, as its paper or
    its leaderboard has it, of flags that are not given. groups: columns whose values are reported apart.
    paper: where it comes from.
    """

    form: str
    rule: str
    template: str
    paper: str
    source: str | None = None
    split: str = "test"
    flags: Mapping[str, Any] = field(default_factory=dict[str, Any])
    groups: tuple[str, ...] = ()


def _sampled(count: int, tokens: int, *, temperature: float = 0.6) -> dict[str, Any]:
    return {
        "n_samples_per_prompt": count,
        "temperature": temperature,
        "top_p": 0.95,
        "generate_max_len": tokens,
        "prompt_max_len": 4096,
    }


BENCHMARKS: dict[str, Benchmark] = {
    "gsm8k": Benchmark(
        form="gsm8k",
        rule="gsm8k",
        template='{}\n\nThink step by step. Then write the answer on the last line, a number behind "#### ".',
        paper="Cobbe et al. 2021, arXiv 2110.14168",
        source="openai/gsm8k?name=main",
    ),
    "math500": Benchmark(
        form="math500",
        rule="boxed",
        template=BOXED,
        paper="Hendrycks et al. 2021, arXiv 2103.03874; these 500: Lightman et al. 2023, arXiv 2305.20050",
        source="HuggingFaceH4/MATH-500",
        flags={"generate_max_len": 4096, "prompt_max_len": 2048},
        groups=("level", "subject"),
    ),
    "aime24": Benchmark(
        form="aime",
        rule="boxed",
        template=BOXED,
        paper="AIME 2024, sampled as by DeepSeek-R1, arXiv 2501.12948",
        source="HuggingFaceH4/aime_2024",
        split="train",
        flags=_sampled(64, 32768),
    ),
    "aime25": Benchmark(
        form="aime",
        rule="boxed",
        template=BOXED,
        paper="AIME 2025, sampled as by DeepSeek-R1, arXiv 2501.12948",
        source="math-ai/aime25",
        flags=_sampled(64, 32768),
    ),
    "gpqa_diamond": Benchmark(
        form="gpqa",
        rule="multiple_choice",
        template="Answer the following multiple choice question.\n\n{}\n\nThink step by step before you answer. The "
        "last line of your response should be 'Answer: X', where X is one of the letters A, B, C and D.",
        paper="Rein et al. 2023, arXiv 2311.12022, sampled as by DeepSeek-R1, arXiv 2501.12948",
        source="Idavidrein/gpqa?name=gpqa_diamond",
        split="train",
        flags=_sampled(4, 32768),
        groups=("High-level domain",),
    ),
    "geo3k": Benchmark(
        form="geo3k",
        rule="geo3k",
        template=BOXED,
        paper="Lu et al. 2021, arXiv 2105.04165",
        source="hiyouga/geometry3k",
        flags={"generate_max_len": 2048, "prompt_max_len": 4096},
    ),
    "mmmu": Benchmark(
        form="mmmu",
        rule="multiple_choice",
        template=LETTER,
        paper="Yue et al. 2023, arXiv 2311.16502",
        source="lmms-lab/MMMU",
        split="validation",
        flags={"prompt_max_len": 16384},
        groups=("subject", "topic_difficulty"),
    ),
    "avqa": Benchmark(
        form="avqa",
        rule="multiple_choice",
        template=LETTER,
        paper="Yang et al. 2022, doi 10.1145/3503161.3548291, for sound alone as R1-AQA has it, arXiv 2503.11197",
        flags={"prompt_max_len": 2048},
        groups=("question_type",),
    ),
    "livecodebench": Benchmark(
        form="livecodebench",
        rule="code",
        template="{}",
        paper="Jain et al. 2024, arXiv 2403.07974",
        flags=_sampled(10, 2000, temperature=0.2) | {"prompt_max_len": 8192, "reward_timeout": 120.0},
        groups=("difficulty", "platform"),
    ),
}


@dataclass(frozen=True)
class Chosen:
    """A benchmark that is asked for, and where its rows are: a file, a folder, or a data set of the hub."""

    name: str
    benchmark: Benchmark
    place: str


def chosen_benchmarks(benchmark: str, benchmark_path: str | None) -> list[Chosen]:
    """What `--benchmark gsm8k,math500:FILE --benchmark_path aime24=FILE` asks for. Raises ConfigError."""
    paths: dict[str, str] = {}
    problems: list[str] = []
    for term in _terms(benchmark_path or ""):
        name, equals, place = term.partition("=")
        if not (name and equals and place) or name in paths:
            problems.append(f"--benchmark_path {term}: write NAME=FILE, each benchmark once")
        paths[name] = place
    chosen: dict[str, Chosen] = {}
    for term in _terms(benchmark):
        name, colon, place = term.partition(":")
        if name not in BENCHMARKS:
            problems.append(f"--benchmark {name}: there is no such benchmark; there are {', '.join(BENCHMARKS)}")
            continue
        if name in chosen or (colon and name in paths):
            problems.append(f"--benchmark {name}: name it once, with one place for its rows")
        where = place or paths.pop(name, "") or BENCHMARKS[name].source
        if where is None:
            problems.append(f"--benchmark {name}: no data set of the hub has rows that can be read: write {name}:FILE")
        else:
            chosen[name] = Chosen(name, BENCHMARKS[name], where)
    problems += [f"--benchmark_path {name}: name it in --benchmark, too" for name in paths if name not in chosen]
    if problems:
        raise ConfigError(problems)
    return [*chosen.values()]


def _terms(listed: str) -> Iterator[str]:
    return (term.strip() for term in listed.split(",") if term.strip())
