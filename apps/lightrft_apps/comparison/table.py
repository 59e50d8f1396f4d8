"""A comparison as a page of Markdown: one table, which also reads well on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = ("algorithm", "seeds", "accuracy before", "after (95% interval)", "mean reward", "entropy", "length", "seconds")


def page(found: Mapping[str, Any]) -> str:
    """compare.md: the table, what its columns are, and which runs are missing."""
    rows = [_row(algorithm) for algorithm in found["by_algorithm"]]
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    aligned = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_line(HEAD, widths), _line(aligned, widths), *(_line(row, widths) for row in rows)]
    return "\n".join(
        [
            f"# {', '.join(found['algorithms'])} on {found['task']}",
            "",
            *lines,
            "",
            f"Means over seeds {', '.join(map(str, found['seeds']))}. Accuracy is over held-out prompts, its interval",
            "Wilson's with questions x seeds pooled. Mean reward is over all steps (the area under the reward curve),",
            "without the penalty for overlong answers, which only some algorithms have. Entropy (nats a token) and",
            "length (tokens) are of the last step's sampled answers. Seconds are of one run; with dynamic sampling a",
            "step may sample several times as many answers as without.",
            *_missing(found),
            "",
        ]
    )


def _row(algorithm: Mapping[str, Any]) -> tuple[str, ...]:
    after, seeds = algorithm["accuracy_after"], len(algorithm["seeds"])
    wanted = seeds + len(algorithm["missing_seeds"])
    interval = f" ({after['interval'][0]:.1%} to {after['interval'][1]:.1%})" if after else ""
    return (
        algorithm["algorithm"],
        str(seeds) if seeds == wanted else f"{seeds} of {wanted}",
        _percent(algorithm["accuracy_before"]),
        _percent(after) + interval,
        _number(algorithm["reward_area"], 3),
        _number(algorithm["final_entropy"], 3),
        _number(algorithm["final_length"], 1),
        _number(algorithm["seconds"], 0),
    )


def _percent(estimate: Mapping[str, Any] | None) -> str:
    return f"{estimate['value']:.1%}" if estimate else "-"


def _number(spread: Mapping[str, float] | None, digits: int) -> str:
    return f"{spread['mean']:.{digits}f}" if spread else "-"


def _line(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "| " + " | ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]) + " |"


def _missing(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for run in found["missing"]:
        said = f": `{run['last_lines'][-1].strip()}`" if run["last_lines"] else ""
        lines.append(f"- {run['algorithm']}, seed {run['seed']} ended with exit code {run['exit_code']}{said}")
    return ["", "Missing:", "", *lines] if lines else []
