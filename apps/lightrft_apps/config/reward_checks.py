"""Whether something judges the answers, and only one thing does."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.places import missing_function
from lightrft_apps.config.sections import RewardArgs


def reward_problems(reward: RewardArgs) -> Iterator[str]:
    """What to change about the flags that say how answers are judged."""
    given = {"--rule_reward": reward.rule_reward, "--reward_routes": reward.reward_routes}
    rules = " and ".join(flag for flag, value in given.items() if value)
    if reward.reward_fn is None and not rules:
        yield (
            "nothing judges the answers: set --rule_reward (such as number:1.0), --reward_routes, "
            "or --reward_fn file.py:function"
        )
    if reward.reward_fn is not None and rules:
        yield f"--reward_fn and {rules} are both given, and one of them judges: leave out --reward_fn or {rules}"
    if reward.reward_fn is not None:
        yield from missing_function(reward.reward_fn)
    yield from _unknown_rules(reward)


def rules_by_route(reward: RewardArgs) -> dict[str, str]:
    """Rules for each route; those of rule_reward, for rows without a route, stand under ""."""
    default = {"": reward.rule_reward} if reward.rule_reward else {}
    return default | (reward.reward_routes or {})


def _unknown_rules(reward: RewardArgs) -> Iterator[str]:
    from lightrft_rewards import RewardSetupError, parse_spec

    if reward.rule_reward and "" in (reward.reward_routes or {}):
        yield '--reward_routes has an entry "", which is --rule_reward by another name: leave one of them out'
    for route, rules in rules_by_route(reward).items():
        try:
            parse_spec(rules)
        except RewardSetupError as error:
            flag = f'--reward_routes "{route}"' if route else "--rule_reward"
            yield f"{flag} {rules}: {error}"
