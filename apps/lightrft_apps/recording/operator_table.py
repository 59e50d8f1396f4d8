"""The top operators of each phase as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

TOP = 15
"""Operators that a phase names; the others are added up."""

OUTSIDE = "(no operator: Python, waiting, other libraries)"


class Row(NamedTuple):
    """What an operator did in a phase, its callees left out. seconds: of the CPU; on_device: of the accelerator."""

    phase: str
    operator: str
    calls: int
    seconds: float
    on_device: float


def table(rows: Sequence[Row], steps: Sequence[int], world_size: int) -> str:
    """Markdown: a table for each phase, the longest phase first, whose shares add up to the phase.

    rows: of all ranks and steps; those of one operator in one phase are added up.
    """
    named = f"step {steps[0]}" if len(steps) == 1 else f"steps {', '.join(map(str, steps))}"
    ranks = "1 rank" if world_size == 1 else f"{world_size} ranks"
    sums = _added_up(rows)
    lengths: dict[str, float] = {}
    for row in sums:
        lengths[row.phase] = lengths.get(row.phase, 0.0) + row.seconds
    parts = [
        f"# Top operators by phase\n\n{named}, {ranks}. Self time: that of what an operator calls is not its own. "
        "Times are added up over steps, ranks and threads.\n"
    ]
    for phase in sorted(lengths, key=lambda name: -lengths[name]):
        parts.append(_phase(phase, [row for row in sums if row.phase == phase]))
    return "\n".join(parts)


def _added_up(rows: Sequence[Row]) -> list[Row]:
    sums: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row.phase, row.operator
        old = sums.get(key, Row(*key, 0, 0.0, 0.0))
        sums[key] = Row(*key, old.calls + row.calls, old.seconds + row.seconds, old.on_device + row.on_device)
    return list(sums.values())


def _phase(phase: str, rows: Sequence[Row]) -> str:
    """One phase, by the accelerator's time if it worked at all, else by the CPU's."""
    host, accelerator = sum(row.seconds for row in rows), sum(row.on_device for row in rows)
    ordered = sorted(rows, key=lambda row: (-row.on_device, -row.seconds, row.operator))
    shown, rest = ordered[:TOP], ordered[TOP:]
    if rest:
        calls, seconds, on_device = (sum(getattr(row, name) for row in rest) for name in Row._fields[2:])
        shown = [*shown, Row(phase, f"({len(rest)} others)", calls, seconds, on_device)]
    head = ["operator", "calls", "CPU ms", "share"] + ["device ms", "share"] * (accelerator > 0)
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in [*shown, Row(phase, "**all**", sum(row.calls for row in rows), host, accelerator)]:
        cells = [row.operator.replace("|", "\\|"), str(row.calls), *_cells(row.seconds, host)]
        lines.append(cells + (_cells(row.on_device, accelerator) if accelerator > 0 else []))
    listed = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    length = f"{host:.3f} s" + (f", {accelerator:.3f} s on the device" if accelerator > 0 else "")
    return f"## {phase}: {length}\n\n{listed}\n"


def _cells(seconds: float, total: float) -> list[str]:
    return [f"{seconds * 1e3:.3f}", f"{seconds / total if total else 0.0:.2%}"]
