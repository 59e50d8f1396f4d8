"""An evaluation of reward models on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from lightrft_apps.drawing.svg import legible
from lightrft_apps.evaluating.reward_models.rows import Row, number, percent, rows_of

HEAD = ("model", "label", "source", "accuracy", "95% interval", "pairs", "ties", "AUC", "ECE", "longer", "failed")
NAMES = 3
"""How many columns are of names, which stand on the left."""


def show(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a row a model, label and source, and below what a person should know."""
    console = console or Console(highlight=False)
    for line in lines_of(found):
        console.print(legible(line), markup=False, soft_wrap=True)


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """What show prints."""
    rows = [HEAD, *map(_cells, rows_of(found))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        aligned = [
            f"{cell:<{width}}" if place < NAMES else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        yield "  ".join(aligned)
    data = found["data"]
    yield f"{data['comparisons']} comparisons of {data['answers']} answers, {data['rejected_rows']} rows rejected"
    yield "ties: pairs scored the same, which count as wrong; longer: how often the longer answer is scored higher"
    for model in found["models"]:
        for error in model["errors"][:1]:
            yield f"warning: {model['name']} could not judge {error['uid']}, for one: {error['error']}"


def _cells(row: Row) -> tuple[str, ...]:
    measures, agreement = row.measures, row.measures["agreement"]
    calibration, length = measures["calibration"], measures["length"]
    cells = (
        row.model,
        row.label,
        row.source,
        percent(row.accuracy),
        "{:.1%} to {:.1%}".format(*row.accuracy["interval"]) if row.accuracy else "-",
        str(agreement["pairs"]),
        str(agreement["score_ties"]),
        number(agreement["auc"]),
        number(calibration and calibration["error"]),
        percent(length and length["chooses_longer"]),
        str(measures["failed"]),
    )
    return tuple(" ".join(cell.split()) for cell in cells)
