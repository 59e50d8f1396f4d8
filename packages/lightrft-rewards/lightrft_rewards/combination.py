"""Several rewards in one score: named, weighted, and chosen per sample by its route."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.rules import find_rule, rule_names
from lightrft_rewards.rules.arguments import MARK
from lightrft_rewards.samples import Outcome


@dataclass(frozen=True)
class RewardSpec:
    """Which parts make up a score. weights: the name of a rule or of a reward model -> its weight in the sum, in the
    order given."""

    weights: Mapping[str, float]

    def __str__(self) -> str:
        """In the form parse_spec reads."""
        return ",".join(f"{name}:{weight!r}" for name, weight in self.weights.items())


def parse_spec(text: str, models: Collection[str] = ()) -> RewardSpec:
    """Read ``number:1.0,format:0.2,rm:0.5``; a weight left out is 1.

    models: names that are not rules; each also stands for its parts (``rm.safe``).
    Raises RewardSetupError for an unknown rule (naming the nearest), a rule named twice, a weight that is not a finite
    number, or an empty text.
    """
    weights: dict[str, float] = {}
    for term in text.split(","):
        name, colon, weight = (piece.strip() for piece in term.partition(":"))
        if not name:
            raise RewardSetupError(f"the reward {text!r} has an empty part; write it as number:1.0,format:0.2")
        if name in weights:
            raise RewardSetupError(f"the reward {text!r} names the rule {name} twice; add up its weights")
        if name.partition(".")[0] not in models:
            _check_name(name, models)
        weights[name] = _parse_weight(weight, text) if colon else 1.0
    return RewardSpec(weights)


def parse_routes(
    rules: str | RewardSpec | Mapping[str, str | RewardSpec], models: Collection[str] = ()
) -> dict[str, RewardSpec]:
    """Rewards by route. A single reward is that of the default route, ""; in a mapping, "" names it.

    models: as for parse_spec.
    Raises RewardSetupError as parse_spec does, naming the route, and for a mapping with nothing in it.
    """
    if isinstance(rules, str | RewardSpec):
        rules = {"": rules}
    if not rules:
        raise RewardSetupError("no reward is given for any route; write one such as number:1.0,format:0.2")
    return {route: _parse_route(route, spec, models) for route, spec in rules.items()}


def spec_for(routes: Mapping[str, RewardSpec], route: str) -> RewardSpec | None:
    """The reward of a route, or None if it has none. A route without an entry of its own that bears the name of a rule
    in the default reward (Reasoning Gym's rows say ``reasoning_gym``) is judged by the default reward."""
    default = routes.get("")
    return routes.get(route) or (default if default and route in default.weights else None)


def combine(spec: RewardSpec, parts: Mapping[str, float], accuracy_rules: Set[str]) -> Outcome:
    """The weighted sum of the parts, and the accuracy: the mean of those parts that measure it, unweighted, or without
    any of them the score clipped to 0..1."""
    score = sum(weight * parts[name] for name, weight in spec.weights.items())
    measured = [parts[name] for name in spec.weights if name in accuracy_rules]
    accuracy = sum(measured) / len(measured) if measured else clip(score)
    return Outcome(score=score, accuracy=accuracy, parts=dict(parts))


def clip(score: float) -> float:
    """The score held within 0..1."""
    return min(max(score, 0.0), 1.0)


def describe_route(route: str) -> str:
    """A route as messages call it."""
    return repr(route) if route else '"" (the default)'


def _parse_route(route: str, spec: str | RewardSpec, models: Collection[str]) -> RewardSpec:
    try:
        return parse_spec(spec if isinstance(spec, str) else str(spec), models)
    except RewardSetupError as error:
        raise RewardSetupError(f"route {describe_route(route)}: {error}") from None


def _check_name(name: str, models: Collection[str]) -> None:
    if MARK in name:
        find_rule(name)
        return
    known = sorted({*rule_names(), *models})
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise RewardSetupError(f"there is no rule {name!r}; {hint}known rules: {', '.join(known)}")


def _parse_weight(weight: str, text: str) -> float:
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RewardSetupError(f"the weight {weight!r} in the reward {text!r} is not a finite number")
    return value
