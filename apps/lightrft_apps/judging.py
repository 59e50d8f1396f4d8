"""From flags to what judges a run's answers: rules in workers, reward models, services, or a panel of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from lightrft_apps.compose import model_folder
from lightrft_apps.config import (
    ConfigError,
    JudgesArgs,
    RewardArgs,
    judge_names,
    reward_models,
    rules_by_route,
)
from lightrft_rewards import RewardPool, RewardSetupError, RewardSpec, Scoring, parse_routes, parse_spec
from lightrft_rewards.gates import parse_gates
from lightrft_rewards.judge import Judge
from lightrft_rewards.majority import MajorityVote
from lightrft_rewards.models.residents import Residents, free_bytes
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_rewards.panel import RULES, Panel
from lightrft_rewards.scorer import Scorer
from lightrft_rewards.service.client import RemoteScorer


def build_judge(
    reward: RewardArgs,
    judges: JudgesArgs,
    journal: Path | None,
    *,
    dtype: torch.dtype = torch.float32,
    in_turns: bool = False,
) -> Judge:
    """What judges: rules or a function in worker processes alone, or a panel with reward models and services.

    dtype, in_turns: as for build_scorer, and it raises the same.
    """
    scorer = build_scorer(reward, judges, dtype=dtype, in_turns=in_turns)
    return Judge(scorer, max_error_share=reward.max_reward_error_share, journal=journal)


def build_scorer(
    reward: RewardArgs, judges: JudgesArgs, *, dtype: torch.dtype = torch.float32, in_turns: bool = False
) -> Scorer:
    """The judge without its journal and its bound on failures.

    dtype: what reward models are computed in. in_turns: they are on the device while they judge and nowhere else.
    Raises ConfigError if a reward model cannot be loaded, RewardSetupError if a reward cannot be used.
    """
    with ExitStack() as stack:
        scorer = _scorer(reward, judges, stack, dtype, in_turns)
        stack.pop_all()
    return scorer


def build_vote(reward: RewardArgs) -> MajorityVote:
    """The reward without labels: the vote of a prompt's answers, as the run's one rule reads them."""
    (rule,) = parse_spec(reward.rule_reward or "").weights
    return MajorityVote(rule)


def _scorer(reward: RewardArgs, judges: JudgesArgs, stack: ExitStack, dtype: torch.dtype, in_turns: bool) -> Scorer:
    names = judge_names(judges)
    if reward.reward_fn is not None:
        return _pool(reward, Scoring(function=reward.reward_fn))
    if not names and judges.reward_gates is None:
        return _pool(reward, Scoring(parse_routes(rules_by_route(reward))))
    scorers: dict[str, Scorer] = {}

    def add(name: str, scorer: Scorer) -> None:
        stack.callback(scorer.close)
        scorers[name] = scorer

    models = {name: _load(name, folder, judges, dtype) for name, folder in reward_models(judges).items()}
    for name, scorer in models.items():
        add(name, scorer)
    if judges.remote_rm_url is not None:
        add("remote", _remote(reward, judges, judges.remote_rm_url))
    parts = {name: scorer.parts for name, scorer in models.items()}
    routes = {
        route: _spelt_out(spec, parts) for route, spec in parse_routes(rules_by_route(reward, names), names).items()
    }
    gates = parse_gates(judges.reward_gates) if judges.reward_gates else ()
    rules = {route: _rules_of(spec, [gate.part for gate in gates], names) for route, spec in routes.items()}
    if any(spec.weights for spec in rules.values()):
        add(RULES, _pool(reward, Scoring({route: spec for route, spec in rules.items() if spec.weights})))
    residents = Residents({name: scorer.module for name, scorer in models.items()}, free_bytes, stay=not in_turns)
    return Panel(scorers, routes, gates=gates, rounds=residents)


def _pool(reward: RewardArgs, scoring: Scoring) -> RewardPool:
    return RewardPool(scoring, timeout=reward.reward_timeout, num_workers=reward.reward_workers)


def _load(name: str, folder: str, judges: JudgesArgs, dtype: torch.dtype) -> ModelScorer:
    with _naming(folder):
        return ModelScorer.load(
            model_folder(folder),
            name=name,
            token_budget=judges.reward_token_budget,
            max_len=judges.reward_max_len,
            dtype=dtype,
        )


@contextmanager
def _naming(folder: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError([f"--reward_pretrain {folder} cannot be loaded: {error}"]) from error


def _remote(reward: RewardArgs, judges: JudgesArgs, urls: str) -> RemoteScorer:
    key = judges.remote_rm_key_env
    if key is not None and not os.environ.get(key):
        raise ConfigError([f"--remote_rm_key_env {key}: there is no such environment variable, or it is empty"])
    return RemoteScorer(
        [url.strip() for url in urls.split(",")],
        name="remote",
        dialect=judges.remote_rm_dialect,
        timeout=reward.reward_timeout,
        key_env=key,
    )


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
