"""One model at work: it answers every task, the answers are judged, and a search takes one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from lightrft_apps.config import JudgesArgs, RewardArgs
from lightrft_apps.config.checks.eval import BY_MODELS
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.engines.any_engine import open_engine
from lightrft_apps.engines.own import EngineNeeds
from lightrft_apps.evaluating.beam import BeamSearch
from lightrft_apps.evaluating.problems import SCORE, Problem, problems_of
from lightrft_apps.evaluating.tasks import Task
from lightrft_apps.models import compose, loading
from lightrft_apps.models.precision import compute_dtype
from lightrft_apps.models.senses import Senses
from lightrft_apps.recording.progress import Progress
from lightrft_apps.rewards.judging import build_judge
from lightrft_core import Engine, Evaluation, Group, Reward, evaluate
from lightrft_strategy.devices import device
from lightrft_strategy.generation import end_tokens
from lightrft_strategy.training.optimiser import set_precision


@dataclass(frozen=True)
class Answered:
    """A task, all answers to it, and what they come to."""

    task: Task
    evaluation: Evaluation
    problems: list[Problem]


def answer_tasks(command: EvalCommand, senses: Senses, tasks: Sequence[Task]) -> list[Answered]:
    """Let --pretrain answer every task. Raises ConfigError for a model that cannot be loaded, or that cannot judge."""
    answers = sum(len(task.prompts) * task.sampling.n for task in tasks)
    progress = Progress(num_steps=len(tasks), done=0, answers=answers, live=command.report.progress)
    with ExitStack() as stack:
        stack.enter_context(progress)
        media = compose.most_media([task.prompts for task in tasks])
        judge, selector = judges_of(command, tasks, stack, media)
        for warning in dict.fromkeys(warning for task in tasks for warning in task.warnings):
            progress.warn(warning)
        engine, ends = stack.enter_context(open_model(command, senses, tasks, media, progress))
        answered = []
        for number, task in enumerate(tasks, start=1):
            progress.phase("sample", number)
            drawn = search_engine(command, engine, selector, senses.tokenizer, ends)
            answered.append(answer(command, task, drawn, judge, selector))
            progress.bars.update(progress.steps, completed=number)
        return answered


def answer(command: EvalCommand, task: Task, engine: Engine, judge: Reward, selector: Reward | None) -> Answered:
    """One task by any engine: its answers judged, and scored by the selector where there is one."""
    search = command.search.search
    sampling = replace(task.sampling, n=command.search.beam_width) if search == "beam" else task.sampling
    result = evaluate(engine, judge, task.prompts, sampling, step=0)
    if isinstance(engine, BeamSearch):
        _note(result.groups, [engine.scores[group.prompt.uid] for group in result.groups])
    elif selector is not None:
        judged = selector.score(result.groups, step=0)
        _note(result.groups, [[verdict.score for verdict in verdicts] for verdicts in judged])
    return Answered(task, result, problems_of(task, result.groups, search))


def judges_of(
    command: EvalCommand, tasks: Sequence[Task], stack: ExitStack, media: dict[str, int]
) -> tuple[Reward, Reward | None]:
    """(who says whether an answer is right, the reward models that steer a search or None).

    Rules judge benchmarks, and what a search takes; otherwise --prompt_data is judged by everything that is given.
    """
    dtype, reward, trusted = compute_dtype(command.model), command.reward, command.model.trust_remote_code
    searching = command.search.search in BY_MODELS
    if command.benchmarks.benchmark is not None:
        routes = {route: rule for task in tasks for route, rule in (task.asked.reward.reward_routes or {}).items()}
        patience = max(task.asked.reward.reward_timeout for task in tasks)
        reward = replace(reward, reward_routes=routes, reward_timeout=patience)
    models = JudgesArgs() if searching or command.benchmarks.benchmark is not None else command.judges
    judge = stack.enter_context(build_judge(reward, models, None, dtype=dtype, media=media, trust_remote_code=trusted))
    if not searching:
        return judge, None
    alone = RewardArgs(max_reward_error_share=command.reward.max_reward_error_share)
    return judge, stack.enter_context(
        build_judge(alone, command.judges, None, dtype=dtype, media=media, trust_remote_code=trusted)
    )


def search_engine(
    command: EvalCommand, engine: Engine, selector: Reward | None, tokenizer: Any, ends: Sequence[int]
) -> Engine:
    """The engine itself, or a beam search over it."""
    search = command.search
    if search.search != "beam" or selector is None:
        return engine
    return BeamSearch(
        engine,
        selector,
        lambda token_ids: str(tokenizer.decode(token_ids, skip_special_tokens=True)),
        ends=frozenset(ends),
        width=search.beam_width,
        expand=search.beam_expand,
        separator=search.beam_separator.replace("\\n", "\n"),
        step_len=search.beam_step_len,
    )


def _note(groups: Sequence[Group], scores: Sequence[Sequence[float | None]]) -> None:
    """Put the selector's scores beside what the judge said; one that failed is left out."""
    for group, row in zip(groups, scores, strict=True):
        for rollout, score in zip(group.rollouts, row, strict=True):
            if rollout.verdict is not None and score is not None and isfinite(score):
                rollout.verdict = replace(rollout.verdict, parts={**rollout.verdict.parts, SCORE: score})


@contextmanager
def open_model(
    command: EvalCommand, senses: Senses, tasks: Sequence[Task], media: dict[str, int], progress: Progress
) -> Iterator[tuple[Engine, list[int]]]:
    """(an engine that samples from --pretrain, with its weights; the tokens that end an answer).

    Raises ConfigError for a model that cannot be loaded, or an engine that cannot draw or read what is asked.
    """
    model = loading.load_model(command.model).to(device())
    set_precision(model, compute_dtype(command.model))
    longest = max(compose.longest_sequence([task.prompts], task.sampling.max_new_tokens) for task in tasks)
    answers = command.answers
    laws = tuple(task.sampling for task in tasks)
    if command.search.search == "beam":
        separator = command.search.beam_separator.replace("\\n", "\n")
        laws = tuple(replace(law, stop=(*law.stop, separator)) for law in laws)
    needs = EngineNeeds(longest, laws, answers.seed, answers.micro_rollout_batch_size, media)
    with open_engine(
        command.engine, command.model, model, senses, needs, progress=progress.advance, say=progress.warn
    ) as engine:
        engine.load_weights(0)
        yield engine, end_tokens(model, senses.tokenizer)
