"""What became of each problem: the rows that every number of an evaluation is computed from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lightrft_apps.evaluating.tasks import Task
from lightrft_core import Group, majority_vote
from lightrft_core.rollout_metrics import correct

SCORE = "selector"
"""What a reward model's score of an answer is called among the parts of its verdict."""

SCHEMA = pa.schema(
    {
        "uid": pa.string(),
        "prompt": pa.string(),
        "label": pa.string(),
        "response": pa.string(),
        "right": pa.list_(pa.bool_()),
        "votes": pa.list_(pa.string()),
        "scores": pa.list_(pa.float64()),
        "chosen": pa.int32(),
        "groups": pa.string(),
        "error": pa.string(),
    }
)


@dataclass(frozen=True)
class Problem:
    """One problem and its answers.

    right: of each answer, whether it is; all False where none could be drawn. votes: what each is counted as; None:
    they are not counted. scores: by reward models, -inf where they failed; None: they were not asked. chosen: the
    number of the answer that a search takes; None without a search, or without answers. response: that answer, or the
    first. groups: columns that are reported apart. label: as JSON. error: why there are no answers.
    """

    uid: str
    prompt: str
    label: str
    response: str
    right: tuple[bool, ...]
    votes: tuple[str | None, ...] | None = None
    scores: tuple[float, ...] | None = None
    chosen: int | None = None
    groups: dict[str, str] = field(default_factory=dict[str, str])
    error: str = ""

    @property
    def value(self) -> float:
        """What the problem counts for: whether the chosen answer is right, or the share of all answers that are."""
        return float(self.right[self.chosen]) if self.chosen is not None else sum(self.right) / len(self.right)


def problems_of(task: Task, groups: Sequence[Group], search: str | None) -> list[Problem]:
    """A problem for each judged group, whose verdicts hold the selector's scores where a search asked for them."""
    votes = task.votes
    return [_problem(task, group, search, votes=votes) for group in groups]


def _problem(task: Task, group: Group, search: str | None, *, votes: bool) -> Problem:
    prompt, rollouts = group.prompt, group.rollouts
    counted = tuple(task.vote(prompt, rollout.text) for rollout in rollouts) if votes else None
    scores: tuple[float, ...] | None = None
    if search in ("best_of_n", "beam"):
        scores = tuple((r.verdict.parts.get(SCORE, -inf) if r.verdict else -inf) for r in rollouts)
    chosen = _chosen(search, counted, scores) if rollouts else None
    return Problem(
        prompt.uid,
        prompt.text,
        json.dumps(prompt.label, ensure_ascii=False, default=str),
        rollouts[chosen or 0].text if rollouts else "",
        tuple(map(correct, rollouts)) if rollouts else (False,) * task.sampling.n,
        counted if rollouts else None,
        scores if rollouts else None,
        chosen,
        dict(task.groups.get(prompt.uid, {})),
        group.error,
    )


def _chosen(search: str | None, votes: Sequence[str | None] | None, scores: Sequence[float] | None) -> int | None:
    """The number of the answer that a search takes: the first that gives the most frequent answer, or scores most."""
    if search == "majority" and votes is not None:
        elected = majority_vote(votes)
        return votes.index(elected) if elected is not None else 0
    if scores is not None:
        return max(range(len(scores)), key=scores.__getitem__)
    return None


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """A row a problem. The file appears whole or not at all."""
    rows = [asdict(problem) | {"groups": json.dumps(problem.groups, ensure_ascii=False)} for problem in problems]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), unfinished)
    unfinished.rename(path)


def read_problems(path: Path) -> list[Problem]:
    """What write_problems wrote. Raises OSError or ValueError if it is not there or not that."""
    rows: list[dict[str, Any]] = pq.read_table(path, schema=SCHEMA).to_pylist()
    return [
        Problem(
            **row
            | {
                "groups": json.loads(row["groups"]),
                "right": tuple(row["right"]),
                "votes": None if row["votes"] is None else tuple(row["votes"]),
                "scores": None if row["scores"] is None else tuple(row["scores"]),
            }
        )
        for row in rows
    ]
