"""A plan as a table for people, and as JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightrft_apps.drawing.terminal import duration
from lightrft_apps.planning.advice import Advice
from lightrft_apps.planning.plan import Plan
from lightrft_strategy.planning import GIB
from lightrft_strategy.planning.memory import FLOAT, rows
from lightrft_strategy.planning.seconds import BANDWIDTH_EFFICIENCY, COMPUTE_EFFICIENCY

NOT_PREDICTED = "the judge is your own; of what ranks send only the bytes are told; neither costs time here"


def show(plan: Plan, *, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        sys.stdout.write(json.dumps(numbers(plan), indent=2) + "\n")
        return
    console = Console()

    def line(text: str, style: str = "") -> None:
        console.print(escape(text), style=style, highlight=False, soft_wrap=True)

    for text in _head(plan):
        line(text)
    console.print(_table(plan))
    for phase in plan.phases:
        if phase.lacks:
            why = phase.why or f"{_gib(phase.total)} of {_gib(plan.job.memory)} GiB"
            line(f"{phase.name}: does not fit by {_gib(phase.lacks)} GiB: {why}", "red")
        else:
            line(f"{phase.name}: fits, {_gib(plan.job.memory - phase.total)} GiB to spare", "green")
    if plan.advice:
        line("what to change, each by itself unless it says otherwise:")
    for advice in plan.advice:
        line(f"  {_told(advice)}")
    if not plan.fits and not any(advice.lacks == 0 for advice in plan.advice):
        line("  no change tried here makes it fit: a smaller model, --lora_rank or --load_in_4bit might")
    line(NOT_PREDICTED)
    line(*_verdict(plan))


def _verdict(plan: Plan) -> tuple[str, str]:
    """The plan in a sentence, and its colour."""
    seconds = [work.seconds for work in plan.work.values() if work.seconds is not None]
    takes = f"a step takes about {duration(sum(seconds))}" if seconds else "how long a step takes is not told"
    fits = "it fits" if plan.fits else "it does not fit as it stands"
    return f"{fits}; {takes}", "bold green" if plan.fits else "bold red"


def _head(plan: Plan) -> list[str]:
    job, rates = plan.job, plan.machine.rates
    work, ranks, weights = job.work, job.holding.ranks, job.policy.weights
    batch, precision = work.largest(ranks), "bfloat16" if job.policy.itemsize == 2 else "float32"
    lines = [
        f"model    {weights.total / 1e6:,.0f} M weights, {weights.trained / 1e6:,.1f} M trained, in {precision}; "
        f"{job.policy.kv_bytes:,} bytes of keys and values a token",
        f"a rank   one of {ranks}, {_gib(job.memory)} GiB; draws {work.answers(ranks)} answers of "
        f"{work.response_len} tokens to prompts of {work.prompt_len}, {rows(job)} side by side",
        f"learns   {_count(work.optimiser_steps, 'optimiser step')} of "
        f"{_count(work.micro_batches(ranks), 'micro-batch', 'es')} of up to {batch.tokens} tokens",
    ]
    if weights.towers:
        media = ", ".join(f"{medium.modality} of {medium.tokens} tokens" for medium in plan.media) or "nothing"
        lines.insert(1, f"media    {media} in every prompt; towers have {weights.towers / 1e6:,.0f} M of the weights")
    if work.tp > 1:
        part = job.policy.slice(work.tp).weights.total
        lines.append(f"slices   of layers lie on {work.tp} ranks, which have {part / 1e6:,.0f} M of the weights each")
    if rates is None:
        return [*lines, "times    are not told: give --device, or --tflops and --bandwidth"]
    if job.policy.itemsize == FLOAT and not plan.machine.on_host:
        lines.append(
            "times    are for bfloat16, the precision of data sheets; in float32 a step takes several times as long"
        )
    return [
        *lines,
        f"rates    {rates.name}: {rates.flops / 1e12:.4g} TFLOP/s x {COMPUTE_EFFICIENCY:g}, "
        f"{rates.bandwidth / 1e9:.4g} GB/s x {BANDWIDTH_EFFICIENCY:g} ({rates.source})",
    ]


def _table(plan: Plan) -> Table:
    table = Table(title="GiB on each rank")
    table.add_column("")
    for phase in plan.phases:
        table.add_column(phase.name, justify="right")
    names = dict.fromkeys(name for phase in plan.phases for name in phase.parts)
    for name in names:
        table.add_row(name, *(_gib(phase.parts[name]) if name in phase.parts else "" for phase in plan.phases))
    table.add_section()
    table.add_row("together", *(_gib(phase.total) for phase in plan.phases))
    hosts = dict.fromkeys(name for phase in plan.phases for name in phase.host)
    if hosts:
        table.add_section()
    for name in hosts:
        table.add_row(f"{name}, in host memory", *(_gib(phase.host.get(name, 0)) for phase in plan.phases))
    table.add_section()
    works = [plan.work[phase.name] for phase in plan.phases]
    if plan.machine.rates is not None:
        table.add_row("seconds", *("" if work.seconds is None else f"{work.seconds:.3g}" for work in works))
    if any(work.sends for work in works):
        table.add_row("GB sent by a rank", *(f"{work.sends / 1e9:.3g}" if work.sends else "" for work in works))
    return table


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else plural}"


def _told(advice: Advice) -> str:
    saves = ", ".join(f"{_gib(size)} GiB in {phase}" for phase, size in advice.saves.items() if size > 0)
    end = "all fits" if not advice.lacks else f"{_gib(advice.lacks)} GiB still missing"
    return f"{advice.flags}: " + (f"saves {saves}; " if saves else "") + end


def numbers(plan: Plan) -> dict[str, Any]:
    """All of a plan: bytes, seconds and operations of one rank."""
    job, rates = plan.job, plan.machine.rates
    work, ranks, weights = job.work, job.holding.ranks, job.policy.weights
    largest = work.largest(ranks)
    return {
        "fits": plan.fits,
        "gpus": ranks,
        "memory_bytes": int(job.memory),
        "rates": None if rates is None else {**vars(rates), "memory": int(job.memory)},
        "efficiency": {"compute": COMPUTE_EFFICIENCY, "bandwidth": BANDWIDTH_EFFICIENCY},
        "model": {**vars(weights), "kv_bytes_per_token": job.policy.kv_bytes},
        "workload": {
            **vars(work),
            "answers": work.answers(ranks),
            "side_by_side": rows(job),
            "optimiser_steps": work.optimiser_steps,
            "micro_batches": work.micro_batches(ranks),
            "largest_micro_batch": vars(largest),
        },
        "media": [{"modality": medium.modality, "tokens": medium.tokens} for medium in plan.media],
        "phases": {
            phase.name: {
                "parts_bytes": phase.parts,
                "host_bytes": phase.host,
                "total_bytes": phase.total,
                "fits": phase.lacks == 0,
                "lacks_bytes": phase.lacks,
                **vars(plan.work[phase.name]),
            }
            for phase in plan.phases
        },
        "advice": [vars(advice) for advice in plan.advice],
    }


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}" if abs(size) < 10 * GIB else f"{size / GIB:.1f}"
