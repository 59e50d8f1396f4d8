"""The quick start of reward modelling: comparisons, a reward model, its evaluation, and GRPO against it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from lightrft_apps.config import GRMConfig, RLConfig, RMConfig
from lightrft_apps.config.commands.eval_rm import ComparisonsArgs, EvalRMCommand, JudgedModelsArgs, WrittenArgs
from lightrft_apps.evaluating.reward_models import evaluate_reward_models
from lightrft_apps.quickstart.lessons import JUDGE, LESSONS, REWARD_MODEL, Lesson, judgement
from lightrft_apps.quickstart.over_optimisation import write_over_optimisation
from lightrft_apps.quickstart.perceiving import begin, warmed_up
from lightrft_apps.recording.lines import read_lines
from lightrft_apps.recording.summary import keep_summary
from lightrft_apps.training.grm import train_judge
from lightrft_apps.training.rl import train
from lightrft_apps.training.srm import train_reward_model
from lightrft_rewards.evaluation import OverOptimisation, over_optimisation
from lightrft_rewards.models.judges import JudgeForm
from lightrft_rewards.models.judges.questions import compared
from lightrft_rewards.preferences import Comparison
from lightrft_strategy.data.parts import Turn

COMPARISONS = {"scalar": 1024, "generative": 2048}
"""Pairs that the reward model learns from, by its kind."""

SHORTEST = 1
"""Tokens of an answer before its end. Nobody compared empty answers: a reward model's opinion of them means nothing."""


def learn_from_a_reward_model(kind: str, modality: str, argv: Sequence[str], prog: str) -> dict[str, Any]:
    """Train a reward model on comparisons, and a policy by GRPO against it alone; argv: flags of `lightrft rl`.

    kind: scalar, or generative: a judge that says what it perceives, and then which of two answers is better.
    The policy never sees a right answer in GRPO: the rule that knows them has weight 0 and measures. In --output_dir:
    lesson/, warmup/, rm/ (the reward model), judged/ (its evaluation), grpo/, over_optimisation.svg and .json (true
    and reward model's reward over the steps), summary.json, which is returned. A quick start that was stopped goes on.
    """
    lesson = LESSONS[modality]
    config, folder = begin(
        lesson,
        argv,
        prog,
        {
            "output_dir": f"runs/quickstart-reward-model-{kind}-{modality}",
            "rule_reward": "multiple_choice:0",
            "stop_properly_penalty_coef": 1.0,
            "generate_min_len": SHORTEST,
        },
        lambda unfinished, seed: lesson.write_preferences(unfinished, seed, COMPARISONS[kind]),
        sayings(lesson) if kind == "generative" else (),
    )
    config = warmed_up(lesson, config, folder)
    _teach(kind, config, folder)
    judged = _evaluated(config, folder)
    run = train(
        replace(
            config,
            reward=replace(config.reward, rule_reward=f"{config.reward.rule_reward},rm:1"),
            judges=replace(config.judges, reward_pretrain=str(folder / "rm/final")),
        )
    )
    found = both_rewards(folder / "grpo/metrics.jsonl")
    write_over_optimisation(found, folder)
    sys.stderr.write(f"{found.sentence}\nBoth rewards by step: {folder / 'over_optimisation.svg'}\n")
    summary = {
        "reward_model": judged,
        "before": run["accuracy_before"],
        "after": run["accuracy_after"],
        "over_optimisation": found.verdict,
    }
    keep_summary(folder / "summary.json", summary)
    return summary


def sayings(lesson: Lesson) -> list[str]:
    """What a judge of the lesson's riddles is asked, and what it says."""
    form, said = JudgeForm(reasoning=True, ties=False), []
    for riddle in lesson.drawn(2 * len(lesson.toys), Random(0)):
        for answers in ((riddle.choices[0], riddle.choices[1]), (riddle.choices[2], riddle.choices[3])):
            pair = tuple((answer,) for answer in answers)
            comparison = Comparison("", (Turn("user", (riddle.question,)),), pair, {})
            said += [compared(comparison, (0, 1), "score", form).turn.text]
            said += [judgement(answer, place) for place in (0, 1) for answer in answers]
    return said


def both_rewards(metrics: Path) -> OverOptimisation:
    """What the answers of each step earned from the rule that knows them and from the reward model."""
    steps = [line for line in read_lines(metrics).lines if line["step"] > 0]
    true, model = ([line.get(f"reward/part/{part}") for line in steps] for part in ("multiple_choice", "rm"))
    return over_optimisation([line["step"] for line in steps], true, model)


def _teach(kind: str, config: RLConfig, folder: Path) -> None:
    """The reward model, from the policy's own warm-up, into rm/."""
    places = {
        "pretrain": config.model.pretrain,
        "train_data": str(folder / "lesson/preferences.jsonl"),
        "eval_data": str(folder / "lesson/preferences_heldout.jsonl"),
        "output_dir": str(folder / "rm"),
        "seed": config.run.seed,
        "progress": config.run.progress,
    }
    if kind == "generative":
        train_judge(GRMConfig.create(**JUDGE, **places))
    else:
        train_reward_model(RMConfig.create(**REWARD_MODEL, **places))


def _evaluated(config: RLConfig, folder: Path) -> dict[str, Any]:
    """How far the reward model agrees with comparisons held out."""
    return evaluate_reward_models(
        EvalRMCommand(
            models=JudgedModelsArgs(reward_pretrain=str(folder / "rm/final")),
            data=ComparisonsArgs(eval_data=str(folder / "lesson/preferences_heldout.jsonl"), seed=config.run.seed),
            report=WrittenArgs(output_dir=str(folder / "judged"), progress=config.run.progress),
        )
    )
