"""The numbers of an evaluation, from its problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from lightrft_apps.evaluating.problems import Problem
from lightrft_core.evaluation import Estimate, estimate_of, pass_at_k
from lightrft_core.subsets import best_at_k, majority_at_k


def measures(problems: Sequence[Problem], search: str | None = None) -> dict[str, Estimate]:
    """By name: accuracy, of one answer; pass@k, maj@k and best@k for powers of two up to the number of answers; chosen,
    of the answer that a search took. Each is a mean over problems, with its 95% interval. Of a beam search, whose
    beams are no samples of each other's: accuracy, of its best beam, and oracle, whether any of its beams is right."""
    answers = max(len(problem.right) for problem in problems)
    if search == "beam":
        return {"accuracy": headline(problems), "oracle": estimate_of([float(any(p.right)) for p in problems])}
    powers = [2**i for i in range(answers.bit_length()) if 2**i <= answers]
    found = {"accuracy": estimate_of([sum(p.right) / len(p.right) for p in problems], answers)}

    def add(name: str, of: Callable[[Problem, int], float]) -> None:
        for k in powers:
            values = [of(problem, min(k, len(problem.right))) for problem in problems]
            found[f"{name}@{k}"] = estimate_of(values, answers // k)

    add("pass", lambda p, k: pass_at_k(len(p.right), sum(p.right), k))
    if answers > 1 and any(problem.votes is not None for problem in problems):
        add("maj", lambda p, k: 0.0 if p.votes is None else majority_at_k(p.votes, p.right, k))
    if answers > 1 and any(problem.scores is not None for problem in problems):
        add("best", lambda p, k: 0.0 if p.scores is None else best_at_k(p.scores, p.right, k))
    if any(problem.chosen is not None for problem in problems):
        chosen = [float(p.chosen is not None and p.right[p.chosen]) for p in problems]
        found["chosen"] = estimate_of(chosen)
    return found


def by_subgroup(problems: Sequence[Problem]) -> dict[str, dict[str, Estimate]]:
    """By column and by value in it, what its problems count for: the chosen answer if there is one, or the mean one."""
    parts: dict[str, dict[str, list[Problem]]] = defaultdict(lambda: defaultdict(list))
    for problem in problems:
        for column, value in problem.groups.items():
            parts[column][value].append(problem)
    return {
        column: {value: headline(part) for value, part in sorted(values.items())} for column, values in parts.items()
    }


def headline(problems: Sequence[Problem]) -> Estimate:
    """The one number of an evaluation: the mean of what its problems count for."""
    searched = any(problem.chosen is not None for problem in problems)
    draws = 1 if searched else max(len(problem.right) for problem in problems)
    return estimate_of([problem.value for problem in problems], draws)


def at_k(found: dict[str, Estimate], name: str) -> dict[str, Any]:
    """k -> estimate, of the measures NAME@k."""
    return {key.partition("@")[2]: estimate for key, estimate in found.items() if key.startswith(f"{name}@")}
