"""Sample from an engine, score the very tokens with the trainer, compare: what `lightrft audit-logprobs` does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from math import exp, log
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps.config import ConfigError, SamplingArgs, TrainArgs
from lightrft_apps.config.audit import BUILT_IN, PASS, AuditCommand
from lightrft_apps.engines.any_engine import open_engine
from lightrft_apps.engines.audit_report import Scores, advice_for, as_json, causes_in, show, verdict_of
from lightrft_apps.engines.own import EngineNeeds
from lightrft_apps.models import compose, loading
from lightrft_apps.models.precision import dtype_name
from lightrft_apps.models.senses import Senses
from lightrft_apps.recording.progress import Progress
from lightrft_core import Engine, Group, Prompt, Rollout, TrainingSequence, collate, micro_batches
from lightrft_strategy.data import load_prompts
from lightrft_strategy.devices import keep_freed_memory
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.engines.sync.receipt import SyncError
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.reading import Reader
from lightrft_strategy.training import TorchStrategy

WORST = 5
SEARCHED = 4.0
"""Laws at up to so many times the temperature, or as small a part of it, are tried on a gap."""


def audit_logprobs(command: AuditCommand) -> dict[str, Any]:
    """Audit, print the verdict, write audit.json if there is an output_dir, and return what it holds.

    Raises ConfigError if the model cannot be loaded or no prompt can be answered, PromptDataError without prompts.
    """
    keep_freed_memory()
    hide_progress_bars()
    senses = loading.load_senses(command.model)
    prompts = _prompts(command, senses)
    reader = Reader(senses.adapter)
    actor = LanguageActor(loading.load_model(command.model), command.answers.temperature, reader=reader)
    trainer = TorchStrategy({"policy": actor}, {}, bf16=command.model.bf16, fp16=command.model.fp16)
    sampling = replace(compose.law_of(command.answers), n=command.answers.n_samples_per_prompt)
    needs = EngineNeeds(
        compose.longest_sequence([prompts], sampling.max_new_tokens),
        (sampling,),
        command.answers.seed,
        command.answers.micro_rollout_batch_size,
        compose.most_media([prompts]),
    )
    progress = Progress(num_steps=1, done=0, answers=len(prompts) * sampling.n, live=command.report.progress)
    with (
        progress,
        open_engine(
            command.engine, command.model, actor.model, senses, needs, progress=progress.advance, say=progress.warn
        ) as engine,
    ):
        progress.phase("publish", 0)
        failure = _hand_over(engine)
        progress.phase("sample", 0)
        groups = engine.generate(prompts, sampling, step=0)
        progress.phase("estimate", 0)
        for error in [group.error for group in groups if group.error]:
            progress.warn(error)
        report = _compare(command, trainer, groups, failure, senses.tokenizer)
        receipt = engine.receipt if isinstance(engine, ServedEngine) else None
    report["receipt"] = as_json(receipt)
    show(Console(), report, receipt=receipt)
    if command.report.output_dir is not None:
        folder = Path(command.report.output_dir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "audit.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _prompts(command: AuditCommand, senses: Senses) -> list[Prompt]:
    spec = compose.prompt_spec(command.data)
    if command.data.prompt_data == BUILT_IN:
        with as_file(files("lightrft_apps.engines") / "audit_prompts.jsonl") as path:
            sources = load_prompts(replace(spec, prompt_data=str(path), input_key="input"), senses.tokenizer).sources
    else:
        sources = load_prompts(spec, senses.tokenizer, senses.encoder).sources
    return [prompt for source in sources for prompt in source]


def _hand_over(engine: Engine) -> str:
    """Why the engine does not hold the trainer's weights, "" if it does. It is sampled from all the same."""
    try:
        engine.load_weights(0)
    except SyncError as error:
        return str(error)
    return ""


def _compare(
    command: AuditCommand, trainer: TorchStrategy, groups: Sequence[Group], failure: str, tokenizer: Any
) -> dict[str, Any]:
    answered = [(group.prompt, rollout) for group in groups for rollout in group.rollouts]
    if not answered:
        raise ConfigError([f"no prompt got an answer; the first: {groups[0].error}"])
    scores = score(trainer, answered, shared_prompts=not command.model.gradient_checkpointing)
    numbers = scores.numbers()
    dtype = dtype_name(command.model)
    if command.engine.fp8_rollout and dtype == "float32":
        dtype = "bfloat16"
    refused = sum(bool(group.error) for group in groups)
    verdict, reason = verdict_of(
        numbers, dtype, refused=f"{refused} of {len(groups)}" if refused else "", failure=failure
    )
    causes = [failure] if failure else []
    if verdict != "PASS":
        causes += [*flags_that_part(command), *_another_temperature(trainer, answered)]
        causes += causes_in(scores, noise=min(PASS[dtype].mean, PASS[dtype].largest))
    worst = []
    for token in scores.worst(WORST):
        prompt, rollout = answered[int(scores.answers[token])]
        position = int(scores.positions[token])
        worst.append(
            {
                "prompt": prompt.uid,
                "sample": rollout.sample,
                "position": position + 1,
                "token_id": rollout.token_ids[position],
                "text": tokenizer.decode([rollout.token_ids[position]]),
                "trainer": float(scores.trainer[token]),
                "engine": float(scores.engine[token]),
            }
        )
    return {
        "verdict": verdict,
        "reason": reason,
        "advice": advice_for(verdict, causes),
        "pretrain": command.model.pretrain,
        "engine_type": command.engine.engine_type,
        "dtype": dtype,
        "temperature": command.answers.temperature,
        "prompts": len(groups) - refused,
        "refused_prompts": refused,
        "answers": len(answered),
        "tokens": len(scores.gap),
        "hand_over_failure": failure,
        "numbers": numbers,
        "by_position": scores.by_position(),
        "worst_tokens": worst,
    }


def score(trainer: TorchStrategy, answered: Sequence[tuple[Prompt, Rollout]], *, shared_prompts: bool) -> Scores:
    """The trainer's log-probabilities beside the engine's, in micro-batches as training cuts them by default."""
    sequences = [
        TrainingSequence(
            prompt_ids=prompt.token_ids,
            media=prompt.media,
            response_ids=rollout.token_ids,
            loss_mask=[True] * len(rollout.token_ids),
            weight=0.0,
            advantages=torch.zeros(len(rollout.token_ids)),
            rollout_logprobs=torch.tensor(rollout.logprobs, dtype=torch.float64),
            place=place,
        )
        for place, (prompt, rollout) in enumerate(answered)
    ]
    plan = micro_batches(
        sequences,
        token_budget=TrainArgs.max_tokens_per_micro_batch,
        max_sequences=TrainArgs.micro_train_batch_size,
        shared_prompts=shared_prompts,
    )
    outputs = trainer.forward("policy", [collate(micro_batch) for micro_batch in plan])
    scored: dict[int, Tensor] = {}
    for micro_batch, output in zip(plan, outputs, strict=True):
        lengths = [len(sequence.response_ids) for sequence in micro_batch]
        parts = torch.split(output.logprobs.double().cpu(), lengths)
        scored |= {sequence.place: part for sequence, part in zip(micro_batch, parts, strict=True)}
    lengths = [len(sequence.response_ids) for sequence in sequences]
    return Scores(
        torch.cat([scored[place] for place in range(len(sequences))]),
        torch.cat([sequence.rollout_logprobs for sequence in sequences]),
        torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)),
        torch.cat([torch.arange(length) for length in lengths]),
    )


def flags_that_part(command: AuditCommand) -> list[str]:
    """Flags that give the engine another law than the trainer's, on purpose: each a cause of a gap."""
    usual, answers = SamplingArgs(), command.answers
    named = [
        f"--{name} {getattr(answers, name)}"
        for name in ("top_p", "top_k", "logit_bias", "generate_min_len")
        if getattr(answers, name) != getattr(usual, name)
    ]
    causes = []
    if named:
        causes.append(
            f"{', '.join(named)}: the engine's law is truncated or shifted, the trainer's is all tokens at "
            "--temperature; audit without it to see the engine itself, and train without it or with "
            "--enable_vllm_is_correction"
        )
    if command.engine.fp8_rollout:
        causes.append("--fp8_rollout: the engine computes in eight bits; audit without it to see what that costs")
    return causes


def _another_temperature(trainer: TorchStrategy, answered: Sequence[tuple[Prompt, Rollout]]) -> list[str]:
    """A cause if some temperature explains the engine's log-probabilities ten times as well as the trainer's own.

    Looked for by thirds, on the answers to one prompt.
    """
    actor, some = trainer.held["policy"].module, [pair for pair in answered if pair[0] is answered[0][0]]
    assert isinstance(actor, LanguageActor)
    usual = actor.temperature

    def gap(log_temperature: float) -> float:
        actor.temperature = exp(log_temperature)
        return float(score(trainer, some, shared_prompts=True).gap.abs().mean())

    try:
        before, low, high = gap(log(usual)), log(usual / SEARCHED), log(usual * SEARCHED)
        while high - low > 1e-3:
            third = (high - low) / 3
            if gap(low + third) < gap(high - third):
                high -= third
            else:
                low += third
        found, after = exp((low + high) / 2), gap((low + high) / 2)
    finally:
        actor.temperature = usual
    if not after < before / 10:
        return []
    return [
        f"another temperature: the engine's numbers are those of temperature {found:.2f}, the trainer's of {usual:g}; "
        "a vLLM server that runs already must have been started with logprobs-mode processed_logprobs"
    ]
