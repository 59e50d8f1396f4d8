"""What answers are counted by in a vote."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lightrft_apps.config.checks.reward import rules_by_route
from lightrft_apps.config.sections import RewardArgs
from lightrft_rewards import RewardSetupError, parse_spec
from lightrft_rewards.combination import RewardSpec, spec_for
from lightrft_rewards.rules import RULES, find_rule

Extract = Callable[[str], str | None]


def voting_rules(reward: RewardArgs) -> dict[str, Extract | None]:
    """By route, how its one rule that can read an answer out of a response does so; None where none or several can."""
    return {route: _extract(spec) for route, spec in _specs(reward).items()}


def extract_of(reward: RewardArgs, route: str) -> Extract | None:
    """How answers of a prompt with that route are read, as voting_rules has it."""
    specs = _specs(reward)
    spec = spec_for(specs, route)
    return None if spec is None else _extract(spec)


def _specs(reward: RewardArgs) -> Mapping[str, RewardSpec]:
    specs: dict[str, RewardSpec] = {}
    for route, text in rules_by_route(reward).items():
        parts = ",".join(part for part in text.split(",") if part.partition(":")[0].strip() in RULES)
        try:
            specs[route] = parse_spec(parts)
        except RewardSetupError:
            specs[route] = RewardSpec({})
    return specs


def _extract(spec: RewardSpec) -> Extract | None:
    able = [rule.extract for name in spec.weights if (rule := find_rule(name)).extract is not None]
    return able[0] if len(able) == 1 else None
