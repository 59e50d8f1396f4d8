"""A comparison of algorithms: its runs one after another, then what they reached, as JSON, a table and a picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightrft_apps.comparison.picture import picture
from lightrft_apps.comparison.results import results
from lightrft_apps.comparison.runs import run_all
from lightrft_apps.comparison.table import page
from lightrft_apps.config.commands.compare import CompareCommand, PlannedRun

__all__ = ["compare"]


def compare(command: CompareCommand, runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """Train what is not yet trained, write compare.json, compare.md and compare.svg. Returns what the first holds."""
    folder = Path(command.run.output_dir).expanduser()
    found = results(command, run_all(runs), folder)
    text = page(found)
    (folder / "compare.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "compare.md").write_text(text, encoding="utf-8")
    (folder / "compare.svg").write_text(picture(found), encoding="utf-8")
    sys.stdout.write(text)
    sys.stderr.write(f"table: {folder / 'compare.md'}  picture: {folder / 'compare.svg'}  numbers: ")
    sys.stderr.write(f"{folder / 'compare.json'}\n")
    return found
