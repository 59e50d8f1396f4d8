"""The rules by name: the built-in ones, and those of other packages (entry points, group ``lightrft.rewards``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.rules.arguments import MARK, split_name
from lightrft_rewards.rules.boxed import boxed, boxed_answer, prepare_boxed
from lightrft_rewards.rules.choice import choice_answer, multiple_choice
from lightrft_rewards.rules.code import code, code_share, prepare_code
from lightrft_rewards.rules.forms import json_schema, json_schema_of, prepare_json_schema, regex, regex_of
from lightrft_rewards.rules.geo3k import boxed_format, geo3k, geo3k_answer
from lightrft_rewards.rules.gym import prepare_reasoning_gym, reasoning_gym
from lightrft_rewards.rules.judgement import judgement, judgement_format
from lightrft_rewards.rules.measures import repetition, repetition_of, target_length, target_length_of
from lightrft_rewards.rules.number import hash_answer, last_number, number, number_after_hashes
from lightrft_rewards.rules.tags import think_answer

GROUP = "lightrft.rewards"


def _nothing() -> None:
    """For rules with nothing to prepare."""


@dataclass(frozen=True)
class Rule:
    """A reward that needs no model.

    score: (response, label) -> reward. It sees the response alone, and raises for a label it cannot read.
    measures_accuracy: its reward is 1 for right, 0 for wrong, or the share in between.
    prepare: run once by a worker before its first sample (slow imports).
    extract: the answer that the rule reads out of a response, in one form for all ways to write it, so that answers can
    be counted (a majority vote); None if it can read none. It runs outside the workers: it takes time linear in the
    response, whatever that holds, and never raises. None for a rule that reads no such answer.
    in_process: score, too, may run outside the workers, on responses of which extract reads an answer.
    bind: of a rule that can be written NAME@ARGUMENT, the argument -> its score; raises RewardSetupError.
    """

    score: Callable[[str, Any], float]
    measures_accuracy: bool
    prepare: Callable[[], None] = _nothing
    extract: Callable[[str], str | None] | None = None
    in_process: bool = False
    bind: Callable[[str], Callable[[str, Any], float]] | None = None


RULES: dict[str, Rule] = {
    "number": Rule(number, measures_accuracy=True, extract=last_number, in_process=True),
    "gsm8k": Rule(hash_answer, measures_accuracy=True, extract=number_after_hashes, in_process=True),
    "boxed": Rule(boxed, measures_accuracy=True, prepare=prepare_boxed, extract=boxed_answer),
    "geo3k": Rule(geo3k, measures_accuracy=True, prepare=prepare_boxed, extract=geo3k_answer),
    "multiple_choice": Rule(multiple_choice, measures_accuracy=True, extract=choice_answer, in_process=True),
    "format": Rule(think_answer, measures_accuracy=False),
    "boxed_format": Rule(boxed_format, measures_accuracy=False),
    "regex": Rule(regex, measures_accuracy=False, bind=regex_of),
    "json_schema": Rule(json_schema, measures_accuracy=False, prepare=prepare_json_schema, bind=json_schema_of),
    "target_length": Rule(target_length, measures_accuracy=False, bind=target_length_of),
    "repetition": Rule(repetition, measures_accuracy=False, bind=repetition_of),
    "judgement": Rule(judgement, measures_accuracy=True),
    "judgement_format": Rule(judgement_format, measures_accuracy=False),
    "code": Rule(code, measures_accuracy=True, prepare=prepare_code),
    "code_share": Rule(code_share, measures_accuracy=True, prepare=prepare_code),
    "reasoning_gym": Rule(reasoning_gym, measures_accuracy=True, prepare=prepare_reasoning_gym),
}


def rule_names() -> list[str]:
    """Every name a reward may use, without importing any foreign package."""
    return sorted({*RULES, *_foreign()})


def find_rule(name: str) -> Rule:
    """The rule of that name, or of NAME@ARGUMENT. A foreign entry point may load to a Rule, or to a plain function
    (response, label) -> float, which is then taken not to measure accuracy.

    Raises RewardSetupError if two rules bear the name, if there is none, if the entry point is neither, or if the rule
    takes no argument, or not this one.
    """
    own, argument = split_name(name)
    if MARK in name:
        rule = find_rule(own)
        if rule.bind is None:
            raise RewardSetupError(f"rule {own} takes no argument: write it without {MARK}{argument}")
        return replace(rule, score=rule.bind(argument), bind=None)
    foreign = _foreign()
    if name in RULES:
        if name in foreign:
            raise RewardSetupError(
                f"the entry point {foreign[name].value} offers a rule {name!r}, but a built-in rule has that name"
            )
        return RULES[name]
    if name not in foreign:
        raise RewardSetupError(f"there is no rule {name!r}; known rules: {', '.join(rule_names())}")
    loaded = foreign[name].load()
    if isinstance(loaded, Rule):
        return loaded
    if callable(loaded):
        return Rule(loaded, measures_accuracy=False)
    raise RewardSetupError(f"the entry point {foreign[name].value} is neither a function nor a Rule")


def _foreign() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
