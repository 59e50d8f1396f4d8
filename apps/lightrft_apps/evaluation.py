"""The accuracy of a model on held-out prompts, greedy or pass@k: what `lightrft eval` does once its flags are read."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps import compose
from lightrft_apps.config.eval_command import EvalCommand
from lightrft_apps.config.flat import to_flat
from lightrft_apps.engines import EngineNeeds, open_engine
from lightrft_apps.judge_prompts import load_all_prompts
from lightrft_apps.judging import build_judge
from lightrft_apps.precision import compute_dtype
from lightrft_apps.progress import Progress
from lightrft_apps.senses import Senses
from lightrft_apps.trajectories import write_trajectories
from lightrft_core import Evaluation, evaluate
from lightrft_strategy.data import LoadedPrompts, write_rejected
from lightrft_strategy.devices import device, keep_freed_memory
from lightrft_strategy.training.optimiser import set_precision


def evaluate_model(command: EvalCommand) -> dict[str, Any]:
    """Evaluate, print the table, write eval.json if there is an output_dir, and return what it holds."""
    keep_freed_memory()
    hide_progress_bars()
    senses = compose.load_senses(command.model)
    loaded = load_all_prompts(compose.prompt_spec(command.data), senses, compose.model_folder(command.model.pretrain))
    result = _answer_and_judge(command, senses, loaded)
    report = {
        "pretrain": command.model.pretrain,
        "prompt_data": command.data.prompt_data,
        "accuracy": asdict(result.accuracy),
        "pass_at_k": {str(k): asdict(estimate) for k, estimate in result.pass_at_k.items()},
        "length_mean": result.length_mean,
        "truncated_share": result.truncated_share,
        "failed": result.failed,
        "rejected_rows": len(loaded.rejected),
        "flags": to_flat(command),
    }
    _show(command, result, len(loaded.rejected))
    if command.report.output_dir is not None:
        folder = Path(command.report.output_dir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "eval.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        write_trajectories(folder / "answers.parquet", 0, result.groups)
        write_rejected(folder / "rejected.jsonl", loaded.rejected)
    return report


def _answer_and_judge(command: EvalCommand, senses: Senses, loaded: LoadedPrompts) -> Evaluation:
    answers, prompts = command.answers, compose.held_out(loaded.sources)
    sampling = replace(compose.law_of(answers), n=answers.n_samples_per_prompt)
    progress = Progress(num_steps=1, done=0, answers=len(prompts) * sampling.n, live=command.report.progress)
    media, dtype = compose.most_media([prompts]), compute_dtype(command.model)
    with progress, build_judge(command.reward, command.judges, None, dtype=dtype, media=media) as judge:
        for warning in loaded.warnings:
            progress.warn(warning)
        model = compose.load_model(command.model).to(device())
        set_precision(model, dtype)
        needs = EngineNeeds(
            compose.longest_sequence([prompts], sampling.max_new_tokens),
            (sampling,),
            answers.seed,
            answers.micro_rollout_batch_size,
            media,
        )
        with open_engine(
            command.engine, command.model, model, senses, needs, progress=progress.advance, say=progress.warn
        ) as engine:
            engine.load_weights(0)
            progress.phase("sample", 0)
            return evaluate(engine, judge, prompts, sampling, step=0)


def _show(command: EvalCommand, result: Evaluation, rejected: int) -> None:
    console = Console(highlight=False)
    rows = {"accuracy": result.accuracy} | {f"pass@{k}": estimate for k, estimate in result.pass_at_k.items()}
    for name, estimate in rows.items():
        low, high = estimate.interval
        console.print(f"{name:<10}[bold]{estimate.value:7.1%}[/bold]  95% interval {low:.1%} to {high:.1%}")
    console.print(
        f"{result.accuracy.n} prompts, {command.answers.n_samples_per_prompt} answers each, {result.length_mean:.1f} "
        f"tokens on average, {result.truncated_share:.1%} cut off, {result.failed} not judged, "
        f"{rejected} rows rejected",
        soft_wrap=True,
    )
