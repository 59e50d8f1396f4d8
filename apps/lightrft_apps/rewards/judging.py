"""From flags to what judges a run's answers: rules in workers, reward models, services, or a panel of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lightrft_apps.config import (
    ConfigError,
    JudgesArgs,
    RewardArgs,
    RLConfig,
    judge_names,
    reward_models,
    rules_by_route,
)
from lightrft_apps.config.checks.reward import SERVICES
from lightrft_apps.rewards import judge_models
from lightrft_core import Reward
from lightrft_rewards import RewardPool, RewardSetupError, RewardSpec, Scoring, parse_routes, parse_spec
from lightrft_rewards.gates import parse_gates
from lightrft_rewards.judge import Judge
from lightrft_rewards.majority import MajorityVote
from lightrft_rewards.models.residents import Residents, free_bytes
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_rewards.panel import RULES, Panel
from lightrft_rewards.scorer import Scorer
from lightrft_rewards.service.client import RemoteScorer
from lightrft_strategy.step_credit import StepCredit
from lightrft_strategy.training.pulse import Pulse

NO_MEDIA: Mapping[str, int] = {}


def build_judge(
    reward: RewardArgs,
    judges: JudgesArgs,
    journal: Path | None,
    *,
    dtype: torch.dtype = torch.float32,
    in_turns: bool = False,
    media: Mapping[str, int] = NO_MEDIA,
    trust_remote_code: bool = False,
) -> Judge:
    """What judges: rules or a function in worker processes alone, or a panel with reward models and services.

    dtype, in_turns, media, trust_remote_code: as for build_scorer, and it raises the same.
    """
    scorer = build_scorer(
        reward, judges, dtype=dtype, in_turns=in_turns, media=media, trust_remote_code=trust_remote_code
    )
    return _judge(scorer, reward, journal)


def build_judges(
    reward: RewardArgs,
    judges: JudgesArgs,
    journal: Path | None,
    *,
    dtype: torch.dtype,
    in_turns: bool,
    media: Mapping[str, int],
    trust_remote_code: bool = False,
    steps: bool = False,
    pulse: Pulse | None = None,
) -> tuple[Judge, Judge]:
    """The judge of what is learnt from, and that of held-out answers, which asks rules alone where they know what is
    right. Closing one closes both. As build_judge otherwise.

    steps: rewards of steps are asked for. Raises ConfigError if nothing that judges can give any.
    """
    scorer = build_scorer(
        reward, judges, dtype=dtype, in_turns=in_turns, media=media, trust_remote_code=trust_remote_code, pulse=pulse
    )
    if steps and not _judges_steps(scorer):
        scorer.close()
        raise ConfigError(
            [
                "--step_reward_coef has no effect: none of --reward_pretrain judges steps; name a process reward model "
                "(lightrft srm --loss_type steps), or leave --step_reward_coef out"
            ]
        )
    measuring = scorer.measuring() if isinstance(scorer, Panel) else scorer
    judge = _judge(scorer, reward, journal)
    return judge, judge if measuring is scorer else _judge(measuring, reward, journal)


def _judges_steps(scorer: Scorer) -> bool:
    """Whether one of the models scores the steps of answers; of a service that is not known before it answers."""
    members = scorer.scorers.values() if isinstance(scorer, Panel) else ()
    return any(isinstance(one, RemoteScorer) or (isinstance(one, ModelScorer) and one.card.process) for one in members)


def _judge(scorer: Scorer, reward: RewardArgs, journal: Path | None) -> Judge:
    return Judge(scorer, max_error_share=reward.max_reward_error_share, journal=journal)


def build_scorer(
    reward: RewardArgs,
    judges: JudgesArgs,
    *,
    dtype: torch.dtype = torch.float32,
    in_turns: bool = False,
    media: Mapping[str, int] = NO_MEDIA,
    trust_remote_code: bool = False,
    pulse: Pulse | None = None,
) -> Scorer:
    """The judge without its journal and its bound on failures.

    dtype: what reward models are computed in. in_turns: they are on the device while they judge and nowhere else.
    media: the most that a prompt has of each modality. trust_remote_code: let repositories of reward models run their
    own code. pulse: told what is waited for.
    Raises ConfigError if a reward model cannot be loaded, RewardSetupError if a reward cannot be used.
    """
    pulse = pulse or Pulse()
    if reward.reward_fn is not None:
        return _pool(reward, Scoring(function=reward.reward_fn), pulse)
    if not judge_names(judges) and judges.reward_gates is None:
        return _pool(reward, Scoring(parse_routes(rules_by_route(reward))), pulse)
    with ExitStack() as stack:
        engines = stack.enter_context(ExitStack())
        models = {
            name: judge_models.load_judge(
                name, folder, judges, engines, dtype=dtype, media=media, trust_remote_code=trust_remote_code
            )
            for name, folder in reward_models(judges).items()
        }
        panel = _panel(reward, judges, stack, models, engines, in_turns, pulse)
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
    models: Mapping[str, judge_models.JudgingModel],
    engines: ExitStack,
    in_turns: bool,
    pulse: Pulse,
) -> Panel:
    """Everything that judges; what is open already is closed by the stack if something is wrong.

    engines: of the models.
    """
    names = judge_names(judges)
    scorers: dict[str, Scorer] = {}

    def add(name: str, scorer: Scorer) -> None:
        stack.callback(scorer.close)
        scorers[name] = scorer

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
        add(RULES, _pool(reward, Scoring({route: spec for route, spec in rules.items() if spec.weights}), pulse))
    weights = {name: model.module for name, model in models.items() if model.module is not None}
    residents = Residents(weights, free_bytes, stay=not in_turns)
    asking = partial(_asking, pulse, judges)
    return Panel(scorers, routes, gates=gates, rounds=residents, closing=engines.close, asking=asking)


def _asking(pulse: Pulse, judges: JudgesArgs, name: str) -> AbstractContextManager[object]:
    """Waiting for a judge of a panel. Services have time-outs of their own; rules' workers say what they wait for."""
    if name == RULES:
        return nullcontext()
    if name in SERVICES:
        url = judges.remote_rm_url if name == "remote" else judges.llm_judge_url
        return pulse.waiting(f"the reward service {name} ({url})", "bounded")
    return pulse.waiting(f"the reward model {name}")


def _pool(reward: RewardArgs, scoring: Scoring, pulse: Pulse) -> RewardPool:
    what = f"the reward function {scoring.function}" if scoring.function else "the rules, in their processes"
    judging = partial(pulse.waiting, what, "signs")
    return RewardPool(scoring, timeout=reward.reward_timeout, num_workers=reward.reward_workers, judging=judging)


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
