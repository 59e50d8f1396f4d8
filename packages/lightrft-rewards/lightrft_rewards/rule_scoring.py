"""A worker's judgement by rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from lightrft_rewards.combination import RewardSpec, combine, describe_route, spec_for
from lightrft_rewards.errors import LabelError, RewardSetupError
from lightrft_rewards.explain import explain
from lightrft_rewards.plain_numbers import finite
from lightrft_rewards.rules import Rule, find_rule
from lightrft_rewards.samples import Outcome, Sample

ScoreCall: TypeAlias = Callable[[Sequence[Sample]], list[Outcome]]
"""One outcome per sample. Raises errors.CallError if the call as a whole failed."""


def rule_scorer(routes: Mapping[str, RewardSpec]) -> ScoreCall:
    """A scorer of all routes, its rules imported and prepared. Raises RewardSetupError if a rule does not load."""
    rules = {name: _load(name) for spec in routes.values() for name in spec.weights}
    accuracy_rules = {name for name, rule in rules.items() if rule.measures_accuracy}

    def judge(sample: Sample) -> Outcome:
        spec = spec_for(routes, sample.route)
        if spec is None:
            known = ", ".join(describe_route(route) for route in routes)
            return Outcome(
                error=f"{sample.name} has the route {describe_route(sample.route)}, which has no reward; "
                f"known routes: {known}"
            )
        parts: dict[str, float] = {}
        for name in spec.weights:
            value = _apply(name, rules[name], sample)
            if isinstance(value, str):
                return Outcome(error=value)
            parts[name] = value
        return combine(spec, parts, accuracy_rules)

    return lambda samples: [judge(sample) for sample in samples]


def _apply(name: str, rule: Rule, sample: Sample) -> float | str:
    """The rule's reward, or what went wrong: whatever a rule raises is this sample's error, not the run's."""
    try:
        reward = rule.score(sample.response, sample.label)
    except LabelError as error:
        return f"{sample.name}: {error}"
    except Exception as error:  # noqa: BLE001
        return f"rule {name} on {sample.name}: {explain(error)}"
    try:
        return finite(reward)
    except ValueError as error:
        return f"rule {name} on {sample.name}: its reward {error}"


def _load(name: str) -> Rule:
    """The rule, prepared. A foreign package may raise anything while it is imported; the message says what."""
    try:
        rule = find_rule(name)
        rule.prepare()
    except RewardSetupError:
        raise
    except ImportError as error:
        raise RewardSetupError(f"rule {name} cannot be loaded: {error}") from error
    except Exception as error:
        raise RewardSetupError(f"rule {name} cannot be loaded: {explain(error)}") from error
    return rule
