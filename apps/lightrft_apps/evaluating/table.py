"""An evaluation on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from lightrft_apps.drawing.svg import legible


def show(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    console = Console(highlight=False)
    for line in lines:
        console.print(legible(line), markup=False, soft_wrap=True)


def lines_of(report: Mapping[str, Any]) -> Iterator[str]:
    """A row a measure of each task, then what a person should know of each."""
    tasks = report.get("benchmarks") or {"": report}
    rows = [row for name, entry in tasks.items() for row in _rows(name, entry)]
    yield from aligned(rows)
    for name, entry in tasks.items():
        yield f"{name}: " * bool(name) + _counts(entry)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines, in columns; columns that are all empty are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    for cells in zip(*columns, strict=True):
        widths = [max(map(len, column)) for column in columns]
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _rows(name: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    measures = {each: entry[each] for each in ("accuracy", "chosen", "oracle") if each in entry}
    for kind in ("pass", "maj", "best"):
        for k, estimate in entry.get(f"{kind}_at_k", {}).items():
            if kind != "pass" or k != "1":
                measures[f"{kind}@{k}"] = estimate
    for column, values in entry["subgroups"].items():
        measures |= {f"  {column} {value} ({estimate['n']})": estimate for value, estimate in values.items()}
    for place, (measure, estimate) in enumerate(measures.items()):
        low, high = estimate["interval"]
        interval = f"95% interval {low:.1%} to {high:.1%}"
        yield (name if not place else "", measure, f"{estimate['value']:7.1%}", interval)


def _counts(entry: Mapping[str, Any]) -> str:
    return (
        f"{entry['problems']} prompts, {entry['answers']} answers each, {entry['length_mean']:.1f} tokens on average, "
        f"{entry['truncated_share']:.1%} cut off, {entry['failed']} not judged, {entry['rejected_rows']} rows rejected"
    )
