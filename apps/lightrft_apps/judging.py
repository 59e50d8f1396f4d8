"""From flags to what judges a run's answers: rules in workers, reward models, services, or a panel of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from lightrft_apps import judge_models
from lightrft_apps.config import JudgesArgs, RewardArgs, RLConfig, judge_names, reward_models, rules_by_route
from lightrft_core import Reward
from lightrft_rewards import RewardPool, RewardSetupError, RewardSpec, Scoring, parse_routes, parse_spec
from lightrft_rewards.gates import parse_gates
from lightrft_rewards.judge import Judge
from lightrft_rewards.majority import MajorityVote
from lightrft_rewards.models.residents import Residents, free_bytes
from lightrft_rewards.panel import RULES, Panel
from lightrft_rewards.scorer import Scorer
from lightrft_strategy.step_credit import StepCredit

NO_MEDIA: Mapping[str, int] = {}


def build_judge(
    reward: RewardArgs,
    judges: JudgesArgs,
    journal: Path | None,
    *,
    dtype: torch.dtype = torch.float32,
    in_turns: bool = False,
    media: Mapping[str, int] = NO_MEDIA,
) -> Judge:
    """What judges: rules or a function in worker processes alone, or a panel with reward models and services.

    dtype, in_turns, media: as for build_scorer, and it raises the same.
    """
    return _judge(build_scorer(reward, judges, dtype=dtype, in_turns=in_turns, media=media), reward, journal)


def build_judges(
    reward: RewardArgs,
    judges: JudgesArgs,
    journal: Path | None,
    *,
    dtype: torch.dtype,
    in_turns: bool,
    media: Mapping[str, int],
) -> tuple[Judge, Judge]:
    """The judge of what is learnt from, and that of held-out answers, which asks rules alone where they know what is
    right. Closing one closes both. As build_judge otherwise."""
    scorer = build_scorer(reward, judges, dtype=dtype, in_turns=in_turns, media=media)
    measuring = scorer.measuring() if isinstance(scorer, Panel) else scorer
    judge = _judge(scorer, reward, journal)
    return judge, judge if measuring is scorer else _judge(measuring, reward, journal)


def _judge(scorer: Scorer, reward: RewardArgs, journal: Path | None) -> Judge:
    return Judge(scorer, max_error_share=reward.max_reward_error_share, journal=journal)


def build_scorer(
    reward: RewardArgs,
    judges: JudgesArgs,
    *,
    dtype: torch.dtype = torch.float32,
    in_turns: bool = False,
    media: Mapping[str, int] = NO_MEDIA,
) -> Scorer:
    """The judge without its journal and its bound on failures.

    dtype: what reward models are computed in. in_turns: they are on the device while they judge and nowhere else.
    media: the most that a prompt has of each modality.
    Raises ConfigError if a reward model cannot be loaded, RewardSetupError if a reward cannot be used.
    """
    if reward.reward_fn is not None:
        return _pool(reward, Scoring(function=reward.reward_fn))
    if not judge_names(judges) and judges.reward_gates is None:
        return _pool(reward, Scoring(parse_routes(rules_by_route(reward))))
    with ExitStack() as stack:
        panel = _panel(reward, judges, stack, dtype, in_turns, media)
        stack.pop_all()
    return panel


def build_reward(config: RLConfig, judge: Judge, tokenizer: Any) -> Reward:
    """What is learnt from: what the judge says, or the vote of a prompt's answers, as the run's one rule reads them.

    tokenizer: the policy's, to whose tokens the rewards of steps are brought.
    """
    if config.shaping.ttrl:
        (rule,) = parse_spec(config.reward.rule_reward or "").weights
        return MajorityVote(rule)
    coef = config.shaping.step_reward_coef
    return StepCredit(judge, tokenizer, coef) if coef else judge


def _panel(
    reward: RewardArgs,
    judges: JudgesArgs,
    stack: ExitStack,
    dtype: torch.dtype,
    in_turns: bool,
    media: Mapping[str, int],
) -> Panel:
    """Everything that judges; what is open already is closed by the stack if something is wrong."""
    names, engines = judge_names(judges), stack.enter_context(ExitStack())
    scorers: dict[str, Scorer] = {}

    def add(name: str, scorer: Scorer) -> None:
        stack.callback(scorer.close)
        scorers[name] = scorer

    models = {
        name: judge_models.load_judge(name, folder, judges, engines, dtype=dtype, media=media)
        for name, folder in reward_models(judges).items()
    }
    for name, model in models.items():
        add(name, model.scorer)
    if judges.remote_rm_url is not None:
        add("remote", judge_models.remote(judges, judges.remote_rm_url))
    if judges.llm_judge_url is not None:
        add("llm", judge_models.llm(judges, judges.llm_judge_url))
    parts = {name: model.parts for name, model in models.items()}
    specs = parse_routes(rules_by_route(reward, names), names)
    routes = {route: _spelt_out(spec, parts) for route, spec in specs.items()}
    gates = parse_gates(judges.reward_gates) if judges.reward_gates else ()
    rules = {route: _rules_of(spec, [gate.part for gate in gates], names) for route, spec in routes.items()}
    if any(spec.weights for spec in rules.values()):
        add(RULES, _pool(reward, Scoring({route: spec for route, spec in rules.items() if spec.weights})))
    weights = {name: model.module for name, model in models.items() if model.module is not None}
    residents = Residents(weights, free_bytes, stay=not in_turns)
    return Panel(scorers, routes, gates=gates, rounds=residents, closing=engines.close)


def _pool(reward: RewardArgs, scoring: Scoring) -> RewardPool:
    return RewardPool(scoring, timeout=reward.reward_timeout, num_workers=reward.reward_workers)


def _spelt_out(spec: RewardSpec, parts: Mapping[str, tuple[str, ...]]) -> RewardSpec:
    """The spec with each model of several heads that it names as a whole replaced by all of its parts.

    Raises RewardSetupError for a part that its model does not have.
    """
    weights: dict[str, float] = {}
    for named, weight in spec.weights.items():
        own = parts.get(named.partition(".")[0], (named,))
        if "." in named and named not in own:
            raise RewardSetupError(f"there is no {named}: the model gives {', '.join(own)}")
        weights |= {named: weight} if "." in named else dict.fromkeys(own, weight)
    return RewardSpec(weights)


def _rules_of(spec: RewardSpec, guarded: list[str], names: tuple[str, ...]) -> RewardSpec:
    """What of a spec, and of the parts that have gates, workers judge."""
    weights = dict.fromkeys(guarded, 0.0) | dict(spec.weights)
    return RewardSpec({part: weight for part, weight in weights.items() if part.partition(".")[0] not in names})
