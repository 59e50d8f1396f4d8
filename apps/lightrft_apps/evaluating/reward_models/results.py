"""What an evaluation of reward models found: everything eval.json holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightrft_apps.config.commands.eval_rm import EvalRMCommand
from lightrft_apps.config.named_models import named_models
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.evaluating.reward_models.answers import shown
from lightrft_apps.evaluating.reward_models.loading import Kind
from lightrft_apps.recording.environment import environment
from lightrft_rewards.evaluation import JudgedComparison, decided_pairs, measure_all
from lightrft_rewards.preferences import Comparison, LoadedComparisons

WORST = 10
"""How many of the comparisons that a model gets most wrong are told."""

LONGEST = 400
"""Characters of a text that are told of them."""


@dataclass(frozen=True)
class JudgedBy:
    """What one model said. kind: scalar or generative."""

    kind: Kind
    comparisons: Sequence[JudgedComparison]


def results(command: EvalRMCommand, loaded: LoadedComparisons, judged: Mapping[str, JudgedBy]) -> dict[str, Any]:
    """config, environment, data (what was compared) and models (each with its measures by label, and its worst)."""
    rows = {(comparison.source, comparison.uid): comparison for comparison in loaded.comparisons}
    folders = named_models(command.models.reward_pretrain)
    return {
        "config": to_flat(command),
        "environment": environment(),
        "data": _data(loaded),
        "models": [
            {
                "name": name,
                "folder": folders[name],
                "kind": part.kind,
                "measures": measure_all(
                    part.comparisons,
                    tie_threshold=command.measures.tie_threshold,
                    safe_threshold=command.measures.safe_threshold,
                    log_odds=part.kind == "scalar",
                ),
                "worst": _worst(part.comparisons, rows),
                "errors": _errors(part.comparisons),
            }
            for name, part in judged.items()
        ],
    }


def _data(loaded: LoadedComparisons) -> dict[str, Any]:
    """comparisons, by source; answers; rejected rows; better_first: of those with two answers people found unequal, how
    many have the better one first."""
    counts = Counter(comparison.source for comparison in loaded.comparisons)
    firsts = [
        numbers[0] > numbers[1]
        for comparison in loaded.comparisons
        for numbers in comparison.labels.values()
        if len(numbers) == 2 and numbers[0] != numbers[1]
    ]
    return {
        "comparisons": len(loaded.comparisons),
        "sources": dict(counts),
        "answers": sum(len(comparison.answers) for comparison in loaded.comparisons),
        "better_first": sum(firsts) / len(firsts) if firsts else None,
        "rejected_rows": len(loaded.rejected),
    }


def _worst(judged: Sequence[JudgedComparison], rows: Mapping[tuple[str, str], Comparison]) -> list[dict[str, Any]]:
    """The pairs whose worse answer is scored furthest above the better one, the furthest first."""
    wrong = [
        (pair.margin, comparison, pair)
        for comparison in judged
        for pair in decided_pairs(comparison)
        if pair.margin < 0
    ]
    found = []
    for margin, comparison, pair in sorted(wrong, key=lambda item: item[0])[:WORST]:
        whole, _, _ = comparison.uid.rpartition("[")
        row = rows.get((comparison.source, comparison.uid)) or rows.get((comparison.source, whole))
        answers = row.answers if row and len(row.answers) == len(comparison.labels) else ()
        found.append(
            {
                "uid": comparison.uid,
                "source": comparison.source,
                "label": comparison.head,
                "margin": margin,
                "asked": _cut(row.asked[-1].text) if row and row.asked else "",
                "better": _cut(shown(answers[pair.better])) if answers else "",
                "worse": _cut(shown(answers[pair.worse])) if answers else "",
            }
        )
    return found


def _errors(judged: Sequence[JudgedComparison]) -> list[dict[str, Any]]:
    """Why comparisons could not be judged: the first few, each once."""
    failed = {(comparison.source, comparison.uid): comparison.error for comparison in judged if comparison.error}
    return [{"uid": uid, "source": source, "error": error} for (source, uid), error in [*failed.items()][:WORST]]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."
