"""Whether something judges the answers, and everything that is given to judge them does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from lightrft_apps.config.checks.places import missing_function, missing_source
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.named_models import named_models
from lightrft_apps.config.sections import JudgesArgs, RewardArgs
from lightrft_rewards import RewardSetupError, parse_spec
from lightrft_rewards.gates import parse_gates

SERVICES = {"remote": "remote_rm_url", "llm": "llm_judge_url"}
"""What services are called in specs -> the flag that names their URLs."""

_ONLY_WITH = {
    "reward_max_len": ("reward_pretrain",),
    "reward_token_budget": ("reward_pretrain",),
    "rm_use_engine": ("reward_pretrain",),
    "judge_opponents": ("reward_pretrain",),
    "judge_samples": ("reward_pretrain",),
    "judge_temperature": ("reward_pretrain",),
    "remote_rm_dialect": ("remote_rm_url",),
    "remote_rm_key_env": ("remote_rm_url",),
    "llm_judge_model": ("llm_judge_url",),
    "llm_judge_prompt": ("llm_judge_url",),
    "llm_judge_key_env": ("llm_judge_url",),
    "judge_timeout": ("remote_rm_url", "llm_judge_url"),
}


def reward_problems(reward: RewardArgs, judges: JudgesArgs) -> Iterator[str]:
    """What to change about the flags that say how answers are judged."""
    given = {"--rule_reward": reward.rule_reward, "--reward_routes": reward.reward_routes}
    rules = " and ".join(flag for flag, value in given.items() if value)
    models = list(_models(judges))
    if reward.reward_fn is None and not rules and not models:
        yield (
            "nothing judges the answers: set --rule_reward (such as number:1.0), --reward_routes, "
            "--reward_fn file.py:function, --reward_pretrain, --remote_rm_url or --llm_judge_url"
        )
    others = " and ".join([rules] * bool(rules) + models)
    if reward.reward_fn is not None and others:
        yield (
            f"--reward_fn and {others} are given, and one of them judges: leave out --reward_fn or {others} "
            "(one that a default or a file gives by null, as in --rule_reward null)"
        )
    if reward.reward_fn is not None:
        yield from missing_function(reward.reward_fn)
    defaults = {field.name: field.default for field in fields(JudgesArgs)}
    for name, owners in _ONLY_WITH.items():
        if getattr(judges, name) != defaults[name] and all(getattr(judges, owner) is None for owner in owners):
            yield f"--{name} has no effect: set --{' or --'.join(owners)}, or leave --{name} out"
    if judges.llm_judge_url is not None and judges.llm_judge_model is None:
        yield "--llm_judge_url: name the model that is to judge there by --llm_judge_model"
    if judges.llm_judge_prompt is not None and not Path(judges.llm_judge_prompt).expanduser().is_file():
        yield f"--llm_judge_prompt {judges.llm_judge_prompt}: there is no such file"
    try:
        named = judge_names(judges)
    except ConfigError as error:
        yield from error.problems
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

    Raises ConfigError if names of reward models cannot be told, or two have one.
    """
    return (*reward_models(judges), *(name for name, flag in SERVICES.items() if getattr(judges, flag)))


def reward_models(judges: JudgesArgs) -> dict[str, str]:
    """name -> folder of each reward model, as named_models has them. Raises ConfigError for a name that no sum can
    have."""
    if judges.reward_pretrain is None:
        return {}
    models = named_models(judges.reward_pretrain)
    for name in models:
        if not name.isidentifier() or name in (*SERVICES, "rules"):
            raise ConfigError(
                [
                    f"--reward_pretrain {judges.reward_pretrain}: a sum of rewards cannot name a model {name}: write "
                    "helpful=FOLDER,safe=FOLDER, each with a name of letters, digits and _"
                ]
            )
    return models


def _models(judges: JudgesArgs) -> Iterator[str]:
    yield from (f"--{name}" for name in ("reward_pretrain", *SERVICES.values()) if getattr(judges, name) is not None)


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
