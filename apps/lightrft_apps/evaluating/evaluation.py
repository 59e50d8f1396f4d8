"""What `lightrft eval` does once its flags are read: evaluate a model, or several and compare them."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps.config.checks.eval import compared_models, compared_reports
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.evaluating.answering import Answered, answer_tasks
from lightrft_apps.evaluating.comparing import (
    Problems,
    compare,
    comparison_lines,
    read_evaluation,
    write_differences,
)
from lightrft_apps.evaluating.report import report_of, write_json, write_report
from lightrft_apps.evaluating.table import lines_of, show
from lightrft_apps.evaluating.tasks import load_tasks
from lightrft_apps.models import loading
from lightrft_strategy.devices import keep_freed_memory
from lightrft_strategy.token_texts import TokenTexts


def evaluate_model(command: EvalCommand) -> dict[str, Any]:
    """Evaluate, print the table, write the report if there is an output_dir, and return what eval.json holds.

    Raises ConfigError for a model that cannot be loaded or models that were not asked the same, PromptDataError for
    prompts that cannot be used.
    """
    if command.comparison.compare_reports is not None:
        folders = compared_reports(command.comparison.compare_reports)
        return _compared(command, {str(folder): read_evaluation(folder) for folder in folders}, {})
    keep_freed_memory()
    hide_progress_bars()
    folder = None if command.report.output_dir is None else Path(command.report.output_dir).expanduser()
    if command.comparison.compare is None:
        report, _ = _evaluated(command, folder)
        return report
    reports, problems = dict[str, Any](), dict[str, Problems]()
    for name, pretrain in compared_models(command.comparison.compare).items():
        one = replace(command, model=replace(command.model, pretrain=pretrain))
        own = None if folder is None else folder / name.replace("/", "_")
        reports[name], answered = _evaluated(one, own, named=name)
        problems[name] = {each.task.name: each.problems for each in answered}
        del answered
        gc.collect()
    return _compared(command, problems, reports)


def _evaluated(command: EvalCommand, folder: Path | None, *, named: str = "") -> tuple[dict[str, Any], list[Answered]]:
    senses = loading.load_senses(command.model)
    tasks = load_tasks(command, senses, loading.model_folder(command.model.pretrain))
    answered = answer_tasks(command, senses, tasks)
    report = report_of(command, answered)
    show(([f"{named}:"] if named else []) + [*lines_of(report)])
    if folder is not None:
        write_report(folder, report, answered, TokenTexts(senses.tokenizer))
    return report, answered


def _compared(command: EvalCommand, problems: Mapping[str, Problems], reports: Mapping[str, Any]) -> dict[str, Any]:
    compared = compare(problems)
    show([*comparison_lines(compared)])
    report = {
        "models": dict(reports) if reports else list(problems),
        "comparisons": [asdict(each) for each in compared],
        "flags": to_flat(command),
    }
    if command.report.output_dir is not None:
        folder = Path(command.report.output_dir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        write_differences(folder / "differences.parquet", problems)
        write_json(folder / "eval.json", report)
    return report
