"""The quick start of a model that sees or hears: riddles, a supervised warm-up, GRPO, and a look behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightrft_apps.config import ConfigError, RLConfig, SFTConfig, require_valid
from lightrft_apps.config.checks.places import unusable_folder
from lightrft_apps.config.commands.quickstart import HELP
from lightrft_apps.config.eval import AnswerArgs, EvalCommand, ReportArgs
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.sections import EvalDataArgs, EvalModelArgs
from lightrft_apps.evaluating.evaluation import evaluate_model
from lightrft_apps.quickstart.lessons import GRPO, LESSONS, NARROW, WARMUP, WIDE, Lesson
from lightrft_apps.recording.summary import keep_summary
from lightrft_apps.training.rl import train
from lightrft_apps.training.sft import tune
from lightrft_strategy.checkpoints import write_folder

PLACES = {"pretrain": "lesson/model", "prompt_data": "lesson/riddles.jsonl", "eval_dataset": "lesson/heldout.jsonl"}
"""Below --output_dir."""


def learn_to_perceive(modality: str, argv: Sequence[str], prog: str) -> dict[str, Any]:
    """Warm up a tiny model and train it by GRPO; argv: flags of `lightrft rl` on top of the lesson's own.

    In --output_dir: lesson/ (model and riddles), warmup/ and grpo/ (the two runs), summary.json, which is returned:
    accuracy before and after GRPO, and with each riddle's medium swapped for another one's. A quick start that was
    stopped goes on when started again.
    """
    lesson = LESSONS[modality]
    config, folder = begin(lesson, argv, prog, {"output_dir": f"runs/quickstart-{modality}"})
    config = warmed_up(lesson, config, folder)
    run = train(config)
    sys.stderr.write("Each riddle with another one's medium, so that nothing but chance makes its answer right:\n")
    blind = evaluate_model(
        EvalCommand(
            model=EvalModelArgs(**vars(replace(config.model, pretrain=str(folder / "grpo/final")))),
            data=EvalDataArgs(prompt_data=str(folder / "lesson/swapped.jsonl"), apply_chat_template=True),
            reward=config.reward,
            judges=config.judges,
            answers=_answers(config),
            engine=config.engine,
            report=ReportArgs(progress=config.run.progress),
        )
    )
    summary = {"before": run["accuracy_before"], "after": run["accuracy_after"], "swapped": blind["accuracy"]}
    keep_summary(folder / "summary.json", summary)
    return summary


def begin(
    lesson: Lesson,
    argv: Sequence[str],
    prog: str,
    defaults: Mapping[str, Any],
    also: Callable[[Path, int], None] = lambda folder, seed: None,
    sayings: Sequence[str] = (),
) -> tuple[RLConfig, Path]:
    """The checked run of GRPO, and the quick start's folder with the lesson written into it.

    defaults: more of the run's. also: writes more files of the lesson, by the seed. sayings: as for Lesson.write.
    """
    with exit_on_config_error(prog):
        known = GRPO | lesson.grpo | PLACES | dict(defaults)
        config = parse(RLConfig, argv, prog=prog, about=HELP, defaults=known)
        problems = [*_own_places(config), *unusable_folder(config.run.output_dir)]
        if problems:
            raise ConfigError(problems)
        folder = Path(config.run.output_dir).expanduser()
        sys.stderr.write(f"{lesson.about}.\n")

        def write(unfinished: Path) -> None:
            heads = NARROW if config.engine.engine_type == "embedded" else WIDE
            lesson.write(unfinished, config.run.seed, heads, sayings)
            also(unfinished, config.run.seed)

        if not (folder / "lesson").exists():
            write_folder(folder / "lesson", write)
        config = _in_folder(config, folder, "lesson/model")
        require_valid(config)
        return config, folder


def warmed_up(lesson: Lesson, config: RLConfig, folder: Path) -> RLConfig:
    """The run of GRPO, from the model that the warm-up ends with."""
    tune(
        SFTConfig.create(
            **WARMUP | lesson.warmup,
            pretrain=str(folder / "lesson/model"),
            dataset=str(folder / "lesson/examples.jsonl"),
            output_dir=str(folder / "warmup"),
            seed=config.run.seed,
            progress=config.run.progress,
        )
    )
    return _in_folder(config, folder, "warmup/final")


def _in_folder(config: RLConfig, folder: Path, pretrain: str) -> RLConfig:
    """The run on the quick start's own model and riddles."""
    return replace(
        config,
        model=replace(config.model, pretrain=str(folder / pretrain)),
        data=replace(config.data, prompt_data=str(folder / "lesson/riddles.jsonl")),
        evaluation=replace(config.evaluation, eval_dataset=str(folder / "lesson/heldout.jsonl")),
        run=replace(config.run, output_dir=str(folder / "grpo")),
    )


def _answers(config: RLConfig) -> AnswerArgs:
    """Answers drawn as the run draws those that it evaluates."""
    rollout, evaluation = config.rollout, config.evaluation
    return AnswerArgs(
        temperature=evaluation.eval_temperature,
        n_samples_per_prompt=evaluation.eval_n_samples_per_prompt,
        generate_max_len=evaluation.eval_generate_max_len or rollout.generate_max_len,
        generate_min_len=rollout.generate_min_len,
        logit_bias=rollout.logit_bias,
        stop=rollout.stop,
        stop_token_ids=rollout.stop_token_ids,
        micro_rollout_batch_size=rollout.micro_rollout_batch_size,
        seed=config.run.seed,
    )


def _own_places(config: RLConfig) -> Iterator[str]:
    """What to change about flags that name another model or other data."""
    given = {
        "pretrain": config.model.pretrain,
        "prompt_data": config.data.prompt_data,
        "eval_dataset": config.evaluation.eval_dataset,
    }
    for flag, place in given.items():
        if place != PLACES[flag]:
            yield f"--{flag} {place}: this quick start makes its own model and riddles: train others by lightrft rl"
