"""Reward models let loose on comparisons that people have judged: what `lightrft eval-rm` does with its flags."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps.config import RanksArgs
from lightrft_apps.config.commands.eval_rm import EvalRMCommand, judged_heads
from lightrft_apps.config.named_models import named_models
from lightrft_apps.data.contests import plain_keys
from lightrft_apps.evaluating.reward_models.loading import load_candidate
from lightrft_apps.evaluating.reward_models.page import page
from lightrft_apps.evaluating.reward_models.picture import picture
from lightrft_apps.evaluating.reward_models.results import JudgedBy, results
from lightrft_apps.evaluating.reward_models.scoring import heads_by_label
from lightrft_apps.evaluating.reward_models.table import show
from lightrft_apps.models.parallel import Together, by_the_first, several
from lightrft_apps.recording.progress import Progress
from lightrft_core.ranks import share
from lightrft_rewards.preferences import Comparison, LoadedComparisons, load_comparisons
from lightrft_strategy.data import write_rejected
from lightrft_strategy.devices import keep_freed_memory

__all__ = ["evaluate_reward_models"]


def evaluate_reward_models(command: EvalRMCommand) -> dict[str, Any]:
    """Judge, print the table, write the report if there is an output_dir, and return what eval.json holds.

    Under a launcher every process judges its part, and all return the same. Raises ConfigError for a model that cannot
    be loaded or has no head for the labels, PromptDataError for comparisons that cannot be used.
    """
    keep_freed_memory()
    hide_progress_bars()
    wanted = judged_heads(command.models)
    with several(RanksArgs()) as together:
        loaded = _read(command, None if wanted is None else [*wanted])
        judged = _judge(command, loaded.comparisons, wanted, together)
        found = by_the_first(together.ranks, lambda: results(command, loaded, judged))
        if together.first:
            if command.report.output_dir is not None:
                _write(found, judged, loaded, Path(command.report.output_dir).expanduser())
            show(found)
        return found


def _read(command: EvalRMCommand, labels: Sequence[str] | None) -> LoadedComparisons:
    data = command.data
    return load_comparisons(
        data.eval_data,
        seed=data.seed,
        split=data.eval_split,
        max_samples=data.eval_max_samples,
        heads=labels,
        keys=plain_keys(data),
        media_root=None if data.media_root is None else Path(data.media_root).expanduser().absolute(),
        flag="--eval_data",
    )


def _judge(
    command: EvalRMCommand,
    comparisons: Sequence[Comparison],
    wanted: Mapping[str, str | None] | None,
    together: Together,
) -> dict[str, JudgedBy]:
    """By model, every comparison in every head, in the order they were read."""
    mine, models = share(comparisons, together.ranks), named_models(command.models.reward_pretrain)
    labels = tuple(dict.fromkeys(label for comparison in comparisons for label in comparison.labels))
    live, quiet = command.report.progress, not together.first

    def judged_by(name: str, folder: str, progress: Progress) -> JudgedBy:
        progress.bars.reset(progress.current, total=None, description="[dim]loading[/dim]")
        with ExitStack() as engines:
            candidate = load_candidate(command, name, folder, engines)
            heads = heads_by_label(candidate.heads, labels, wanted, name)
            progress.bars.reset(progress.current, total=len(mine), description="[dim]judging[/dim]")
            together.doing(f"judging by {name}")
            part = together.ranks.gather(candidate.judge(mine, heads, progress.advance))
        progress.bars.advance(progress.steps)
        return JudgedBy(candidate.kind, part)

    with Progress(num_steps=len(models), done=0, answers=0, live=live, quiet=quiet) as progress:
        return {name: judged_by(name, folder, progress) for name, folder in models.items()}


def _write(
    found: Mapping[str, Any],
    judged: Mapping[str, JudgedBy],
    loaded: LoadedComparisons,
    folder: Path,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Callable[[], str]] = {
        "eval.json": lambda: json.dumps(found, indent=1, allow_nan=False) + "\n",
        "eval.svg": lambda: picture(found),
        "report.html": lambda: page(found),
        "judged.jsonl": lambda: "".join(
            json.dumps({"model": name} | asdict(comparison)) + "\n"
            for name, part in judged.items()
            for comparison in part.comparisons
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(text(), encoding="utf-8")
    write_rejected(folder / "rejected.jsonl", loaded.rejected)
