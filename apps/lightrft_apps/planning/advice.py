"""What to change about a run that does not fit: one flag at a time, then several, each planned again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, TypeAlias

from lightrft_apps.config.commands.plan import PlanCommand, require_plannable
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.schema import fields_of
from lightrft_strategy.planning import Phase

Change: TypeAlias = Mapping[str, Any]
Replan: TypeAlias = Callable[[PlanCommand], list[Phase]]

SHORTEST = 256
"""Tokens below which neither answers nor micro-batches are advised to be cut."""


@dataclass(frozen=True)
class Advice:
    """flags: as they would be given. saves: bytes by phase, of those that did not fit. lacks: bytes still missing."""

    flags: str
    saves: dict[str, int]
    lacks: int


def advise(command: PlanCommand, phases: Sequence[Phase], replan: Replan) -> list[Advice]:
    """The changes that help, in order of what they cost a run; none if all phases fit.

    Where none suffices alone, the last is of several together that do, if there are such.
    """
    if not _missing(phases):
        return []
    found: list[Advice] = []
    for ladder in _ladders(command):
        step = _first_that_fits(command, phases, ladder(command), replan)
        if step is not None:
            found.append(_advice([step[0]], phases, step[1]))
    if any(not advice.lacks for advice in found):
        return found
    together = _together(command, phases, replan)
    return found if together is None else [*found, together]


def _together(command: PlanCommand, phases: Sequence[Phase], replan: Replan) -> Advice | None:
    """One change after another, each kept that helps, until all phases fit."""
    changes: list[Change] = []
    now: Sequence[Phase] = phases
    for ladder in _ladders(command):
        step = _first_that_fits(command, now, ladder(command), replan)
        if step is not None:
            change, now = step
            changes.append(change)
            command = _changed(command, change)
        if not _missing(now):
            return _advice(changes, phases, now)
    return None


def _first_that_fits(
    command: PlanCommand, phases: Sequence[Phase], ladder: Iterator[Change], replan: Replan
) -> tuple[Change, list[Phase]] | None:
    """The mildest change by which all fits; if none does, the one that helps most; None if none helps."""
    best: tuple[Change, list[Phase]] | None = None
    least = _missing(phases)
    for change in ladder:
        try:
            changed = _changed(command, change)
            require_plannable(changed)
            again = replan(changed)
        except ConfigError:
            continue
        if _missing(again) < least:
            best, least = (change, again), _missing(again)
        if not least:
            break
    return best


def _changed(command: PlanCommand, change: Change) -> PlanCommand:
    fields = fields_of(PlanCommand)
    for name, value in change.items():
        section = fields[name].section
        command = replace(command, **{section: replace(getattr(command, section), **{name: value})})
    return command


def _missing(phases: Sequence[Phase]) -> int:
    return sum(phase.lacks for phase in phases)


def _advice(changes: Sequence[Change], before: Sequence[Phase], after: Sequence[Phase]) -> Advice:
    saves = {old.name: old.total - new.total for old, new in zip(before, after, strict=True) if old.lacks}
    return Advice(" ".join(map(_flags, changes)), saves, max(phase.lacks for phase in after))


def _flags(change: Change) -> str:
    return " ".join(
        (f"--{name}" if value else f"--no-{name}") if isinstance(value, bool) else f"--{name} {value}"
        for name, value in change.items()
    )


def _ladders(command: PlanCommand) -> list[Callable[[PlanCommand], Iterator[Change]]]:
    """Kinds of change, those first that cost a run least; each goes from mild to strong."""
    embedded = command.engine.engine_type == "embedded"
    sampling = [_fewer_rows] if embedded else [_sleep, _engine_share]
    return [_precision, _checkpointing, _micro_batches, _shards, _slices, _offload, *sampling, _gpus, _answers]


def _precision(command: PlanCommand) -> Iterator[Change]:
    if not (command.model.bf16 or command.model.fp16):
        yield {"bf16": True}


def _checkpointing(command: PlanCommand) -> Iterator[Change]:
    if not command.model.gradient_checkpointing:
        yield {"gradient_checkpointing": True}


def _micro_batches(command: PlanCommand) -> Iterator[Change]:
    for tokens in _halves(command.train.max_tokens_per_micro_batch):
        yield {"max_tokens_per_micro_batch": tokens}


def _shards(command: PlanCommand) -> Iterator[Change]:
    args = command.parallel
    if command.machine.gpus == 1 or command.lora.load_in_4bit:
        return
    if args.zero_stage is not None:
        yield from ({"zero_stage": stage} for stage in (2, 3) if stage > args.zero_stage)
    elif not args.fsdp:
        yield {"fsdp": True}
    elif not args.fsdp_reshard:
        yield {"fsdp_reshard": True}


def _slices(command: PlanCommand) -> Iterator[Change]:
    yield from ({"tp_size": size} for size in (2, 4, 8) if size > command.parallel.tp_size)


def _offload(command: PlanCommand) -> Iterator[Change]:
    args = command.parallel
    if command.lora.load_in_4bit:
        return
    if args.zero_stage is not None:
        if not args.adam_offload:
            yield {"adam_offload": True}
    elif not args.fsdp_offload:
        yield {"fsdp_offload": True} if args.fsdp else {"fsdp": True, "fsdp_offload": True}


def _gpus(command: PlanCommand) -> Iterator[Change]:
    yield from ({"gpus": command.machine.gpus * times} for times in (2, 4, 8, 16))


def _sleep(command: PlanCommand) -> Iterator[Change]:
    if not command.engine.enable_engine_sleep:
        yield {"enable_engine_sleep": True}


def _engine_share(command: PlanCommand) -> Iterator[Change]:
    """Less of the device for the engine; then more, for one that has no room for an answer."""
    now = command.engine.engine_mem_util
    tenths = [number / 10 for number in range(1, 10)]
    for share in [*(t for t in reversed(tenths) if t < now), *(t for t in tenths if t > now)]:
        yield {"engine_mem_util": share}


def _fewer_rows(command: PlanCommand) -> Iterator[Change]:
    rollout = command.rollout
    now = rollout.micro_rollout_batch_size or rollout.rollout_batch_size * rollout.n_samples_per_prompt
    for rows in takewhile(lambda rows: rows >= rollout.n_samples_per_prompt, (now >> shift for shift in range(1, 32))):
        yield {"micro_rollout_batch_size": rows}


def _answers(command: PlanCommand) -> Iterator[Change]:
    expected = command.machine.response_len
    for tokens in _halves(command.rollout.generate_max_len):
        shorter = {"generate_max_len": tokens}
        yield shorter if expected is None else shorter | {"response_len": min(tokens, expected)}


def _halves(number: int) -> Iterator[int]:
    while number // 2 >= SHORTEST:
        number //= 2
        yield number
