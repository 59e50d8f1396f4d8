"""How one benchmark is asked and judged: its own ways, but for the flags that say otherwise."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from lightrft_apps.config.known_benchmarks import Chosen, chosen_benchmarks
from lightrft_apps.config.sections import DataArgs, RewardArgs

if TYPE_CHECKING:
    from lightrft_apps.config.eval import AnswerArgs, EvalCommand

Section = TypeVar("Section", bound=Any)


@dataclass(frozen=True)
class Settled:
    """What is asked and how. name: of the benchmark, "" for --prompt_data. chosen: None for that."""

    name: str
    data: DataArgs
    answers: AnswerArgs
    reward: RewardArgs
    groups: tuple[str, ...]
    chosen: Chosen | None = None


def settled(command: EvalCommand) -> list[Settled]:
    """Everything that is asked: each benchmark, or --prompt_data. Raises ConfigError for benchmarks there are not."""
    args, listed = command.benchmarks, command.report.subgroup_keys or ""
    keys = tuple(key.strip() for key in listed.split(",") if key.strip())
    if args.benchmark is None:
        return [Settled("", command.data, _beaming(command, command.answers), command.reward, keys)]
    return [_benchmark(command, chosen, keys) for chosen in chosen_benchmarks(args.benchmark, args.benchmark_path)]


def _benchmark(command: EvalCommand, chosen: Chosen, keys: tuple[str, ...]) -> Settled:
    benchmark = chosen.benchmark
    own = dict(benchmark.flags) if command.benchmarks.benchmark_sampling else {}
    data = replace(
        _with_own(command, command.data, own | {"input_template": benchmark.template, "prompt_split": benchmark.split}),
        prompt_data=f"{benchmark.form}:{chosen.place}",
    )
    reward = replace(_with_own(command, command.reward, own), reward_routes={benchmark.rule: benchmark.rule})
    answers = _beaming(command, _with_own(command, command.answers, own))
    return Settled(chosen.name, data, answers, reward, tuple(dict.fromkeys((*benchmark.groups, *keys))), chosen)


def _with_own(command: EvalCommand, section: Section, own: dict[str, Any]) -> Section:
    """The section of the command with a benchmark's own values in place of what nobody has set."""
    left = {field.name for field in fields(section) if getattr(section, field.name) == field.default} - command.given
    return replace(section, **{name: value for name, value in own.items() if name in left})


def _beaming(command: EvalCommand, answers: AnswerArgs) -> AnswerArgs:
    """A beam search has as many answers as it has beams."""
    return replace(answers, n_samples_per_prompt=1) if command.search.search == "beam" else answers
