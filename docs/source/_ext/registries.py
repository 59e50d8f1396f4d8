"""What there is by name: algorithms, rules, and the doors for packages of others."""

from __future__ import annotations

import inspect
import re

from flag_tables import fenced, plain, table
from public_names import folder_of

from lightrft_rewards.rules import RULES

PACKAGES = ("lightrft_core", "lightrft_strategy", "lightrft_multimodal", "lightrft_rewards", "lightrft_apps")


def algorithms() -> str:
    """The table that `lightrft algorithms` prints, and every row of it in full."""
    from lightrft_apps.commands.algorithms import in_full
    from lightrft_apps.commands.algorithms import table as printed
    from lightrft_core import ALGORITHMS

    rows = [f"## {name}\n\n{fenced(in_full(name, row))}" for name, row in ALGORITHMS.items()]
    return "\n\n".join([fenced(printed(ALGORITHMS)), *rows])


def rules() -> str:
    """Every rule a reward may name: what it says of itself, and what else it does."""
    rows = []
    for name, rule in RULES.items():
        does = {
            "measures accuracy": rule.measures_accuracy,
            "majority votes can count its answers": rule.extract is not None,
            f"takes an argument: `{name}@...`": rule.bind is not None,
        }
        doc = " ".join(inspect.cleandoc(rule.score.__doc__ or "").split("\n\n")[0].split())
        rows.append((f"`{name}`", plain(doc), "; ".join(text for text, holds in does.items() if holds)))
    return table(("rule", "what it rewards", ""), rows)


def entry_points() -> str:
    """The groups of entry points that are looked through, and where."""
    rows = []
    for package in PACKAGES:
        for path in sorted(folder_of(package).rglob("*.py")):
            match = re.search(r'^GROUP = "(.*)"$', path.read_text(), re.MULTILINE)
            if match:
                rows.append((f"`{match[1]}`", f"`{package}/{path.relative_to(folder_of(package))}`"))
    return table(("group", "looked through by"), rows)
