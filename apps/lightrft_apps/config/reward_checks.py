"""Whether something judges the answers, and everything that is given to judge them does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from lightrft_apps.config.places import missing_function, missing_source
from lightrft_apps.config.sections import JudgesArgs, RewardArgs
from lightrft_rewards import RewardSetupError, parse_spec
from lightrft_rewards.gates import parse_gates

REMOTE = "remote"
"""What a reward service is called in specs."""

_ONLY_WITH = {
    "reward_max_len": "reward_pretrain",
    "reward_token_budget": "reward_pretrain",
    "remote_rm_dialect": "remote_rm_url",
    "remote_rm_key_env": "remote_rm_url",
}


def reward_problems(reward: RewardArgs, judges: JudgesArgs) -> Iterator[str]:
    """What to change about the flags that say how answers are judged."""
    given = {"--rule_reward": reward.rule_reward, "--reward_routes": reward.reward_routes}
    rules = " and ".join(flag for flag, value in given.items() if value)
    models = list(_models(judges))
    if reward.reward_fn is None and not rules and not models:
        yield (
            "nothing judges the answers: set --rule_reward (such as number:1.0), --reward_routes, "
            "--reward_fn file.py:function, --reward_pretrain or --remote_rm_url"
        )
    others = " and ".join([rules] * bool(rules) + models)
    if reward.reward_fn is not None and others:
        yield (
            f"--reward_fn and {others} are given, and one of them judges: leave out --reward_fn or {others} (one that a "
            "default or a file gives by null, as in --rule_reward null)"
        )
    if reward.reward_fn is not None:
        yield from missing_function(reward.reward_fn)
    defaults = {field.name: field.default for field in fields(JudgesArgs)}
    for name, owner in _ONLY_WITH.items():
        if getattr(judges, name) != defaults[name] and getattr(judges, owner) is None:
            yield f"--{name} has no effect: set --{owner}, or leave --{name} out"
    try:
        named = judge_names(judges)
    except RewardSetupError as error:
        yield str(error)
        return
    for folder in reward_models(judges).values():
        yield from missing_source("reward_pretrain", folder)
    yield from _unknown_parts(reward, named)
    yield from _unheard(reward, judges, named)


def rules_by_route(reward: RewardArgs, named: tuple[str, ...] = ()) -> dict[str, str]:
    """The reward of each route; that for rows without one stands under "": rule_reward, or all models in one sum."""
    own = reward.rule_reward or ",".join(named) * (not reward.reward_routes)
    return ({"": own} if own else {}) | (reward.reward_routes or {})


def judge_names(judges: JudgesArgs) -> tuple[str, ...]:
    """What specs call the models and services that judge.

    Raises RewardSetupError if names of reward models cannot be told, or two have one.
    """
    return (*reward_models(judges), *([REMOTE] if judges.remote_rm_url else []))


def reward_models(judges: JudgesArgs) -> dict[str, str]:
    """name -> folder of each scalar reward model; one that is given without a name is called rm.

    Raises RewardSetupError if several are not all named, or two have one name.
    """
    if judges.reward_pretrain is None:
        return {}
    if "=" not in judges.reward_pretrain or Path(judges.reward_pretrain).exists():
        return {"rm": judges.reward_pretrain}
    models: dict[str, str] = {}
    for term in judges.reward_pretrain.split(","):
        name, equals, folder = (piece.strip() for piece in term.partition("="))
        if not (equals and folder and name.isidentifier()) or name in (REMOTE, "rules"):
            raise RewardSetupError(
                f"--reward_pretrain {judges.reward_pretrain}: several reward models are written as "
                "helpful=FOLDER,safe=FOLDER, each with a name of letters, digits and _"
            )
        if name in models:
            raise RewardSetupError(f"--reward_pretrain names two models {name}: call one of them otherwise")
        models[name] = folder
    return models


def _models(judges: JudgesArgs) -> Iterator[str]:
    yield from (f"--{name}" for name in ("reward_pretrain", "remote_rm_url") if getattr(judges, name) is not None)


def _unknown_parts(reward: RewardArgs, named: tuple[str, ...]) -> Iterator[str]:
    if reward.rule_reward and "" in (reward.reward_routes or {}):
        yield '--reward_routes has an entry "", which is --rule_reward by another name: leave one of them out'
    for route, rules in rules_by_route(reward, named).items():
        try:
            parse_spec(rules, named)
        except RewardSetupError as error:
            flag = f'--reward_routes "{route}"' if route else "--rule_reward"
            yield f"{flag} {rules}: {error}"


def _unheard(reward: RewardArgs, judges: JudgesArgs, named: tuple[str, ...]) -> Iterator[str]:
    """Models that are given and whose judgement nobody asks for; gates of parts that nobody gives."""
    specs = [part.partition(":")[0] for rules in rules_by_route(reward, named).values() for part in rules.split(",")]
    asked = {part.strip().partition(".")[0] for part in specs}
    if judges.reward_gates is not None:
        try:
            guards = {gate.part.partition(".")[0] for gate in parse_gates(judges.reward_gates)}
        except RewardSetupError as error:
            yield f"--reward_gates: {error}"
            return
        for name in sorted(guards - asked - set(named)):
            yield f"--reward_gates: nothing gives {name}: name it in --rule_reward, with weight 0 if it adds nothing"
        asked |= guards
    for name in named:
        if name not in asked:
            yield f"{name} judges, and no reward counts it: name it in --rule_reward, such as {name}:1.0"
