"""Rules across the flags of `lightrft grm`, checked before any model loads."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.checks.effects import without_effect
from lightrft_apps.config.checks.lora import names_in
from lightrft_apps.config.checks.preferences import preference_problems
from lightrft_apps.config.checks.rm import NAME
from lightrft_apps.config.checks.supervised import supervised_problems
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.grm import GRMConfig


def require_valid_grm(config: GRMConfig) -> None:
    """Raise ConfigError with everything `check_grm` finds."""
    problems = check_grm(config)
    if problems:
        raise ConfigError(problems)


def check_grm(config: GRMConfig) -> list[str]:
    """Everything that would stop or spoil the run, a line each; empty if there is nothing."""
    return [*supervised_problems(config), *preference_problems(config, config.data), *_judge(config)]


def _judge(config: GRMConfig) -> Iterator[str]:
    judge = config.judge
    heads = names_in(judge.heads)
    if not all(map(NAME.fullmatch, heads)) or len({*heads}) < len(heads):
        yield (
            f"--heads {judge.heads}: give each head a name of its own, of letters, digits, - and _, separated by "
            "commas, such as helpful,safe"
        )
    if not judge.lowest_grade < judge.highest_grade:
        yield (
            f"--lowest_grade {judge.lowest_grade:g} is not below --highest_grade {judge.highest_grade:g}: grades lie "
            "between the two"
        )
    pairwise = judge.judge_kind == "pairwise"
    yield from without_effect(
        config,
        [
            (("judge_ties", "both_orders"), pairwise, "set --judge_kind pairwise"),
            (("both_orders",), not judge.judge_reasoning, "a written judgement speaks of one order alone"),
            (("lowest_grade", "highest_grade"), not pairwise, "set --judge_kind pointwise"),
        ],
    )
