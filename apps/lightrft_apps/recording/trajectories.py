"""Judged answers as Parquet: one row a rollout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from lightrft_core import Group, Rollout
    from lightrft_strategy.token_texts import Texts

SCHEMA = pa.schema(
    {
        "step": pa.int32(),
        "prompt_uid": pa.string(),
        "occurrence": pa.int32(),
        "sample": pa.int32(),
        "prompt": pa.string(),
        "messages": pa.string(),
        "media": pa.list_(pa.string()),
        "response": pa.string(),
        "label": pa.string(),
        "route": pa.string(),
        "token_ids": pa.list_(pa.int32()),
        "pieces": pa.list_(pa.string()),
        "logprobs": pa.list_(pa.float32()),
        "finish_reason": pa.string(),
        "reward": pa.float64(),
        "accuracy": pa.float64(),
        "parts": pa.string(),
        "steps": pa.string(),
        "error": pa.string(),
        "timed_out": pa.bool_(),
        "notes": pa.string(),
        "advantage": pa.float64(),
        "advantages": pa.list_(pa.float32()),
        "trainer_logprobs": pa.list_(pa.float32()),
        "entropy": pa.list_(pa.float32()),
        "ratios": pa.list_(pa.float32()),
    }
)


ROWS_TOGETHER = 128
"""Answers that are read at once; who wants a few of a large file reads no more than these."""


def write_trajectories(path: Path, step: int, groups: Sequence[Group], texts: Texts | None = None) -> None:
    """Write the rollouts of judged groups. The file appears whole or not at all.

    messages, label, parts: as JSON; messages are the prompt before the chat template. media: of each its modality and
    the hash of what it shows or plays, in reading order. steps: [[letters up to its end, reward], ...] as JSON; notes:
    what its judges wrote, as JSON. pieces: the text of each token, by `texts`; null without. Of every token: what it
    was learnt from with, null where it carries no loss or was left out of the forward pass; null for the whole
    answer if it was not chosen to learn from.
    """
    messages = [json.dumps([asdict(message) for message in group.prompt.messages]) for group in groups]
    rows = [
        {
            "step": step,
            "prompt_uid": group.prompt.uid,
            "occurrence": group.prompt.occurrence,
            "sample": rollout.sample,
            "prompt": group.prompt.text,
            "messages": asked,
            "media": [f"{medium.modality}:{medium.sha256}" for medium in group.prompt.media],
            "response": rollout.text,
            "label": json.dumps(group.prompt.label, ensure_ascii=False, default=str),
            "route": group.prompt.route,
            "token_ids": rollout.token_ids,
            "pieces": None if texts is None else texts(rollout.token_ids),
            "logprobs": rollout.logprobs,
            "finish_reason": str(rollout.finish_reason),
            "reward": rollout.verdict.score,
            "accuracy": rollout.verdict.accuracy,
            "parts": json.dumps(dict(rollout.verdict.parts)),
            "steps": json.dumps(rollout.verdict.steps),
            "error": rollout.verdict.error,
            "timed_out": rollout.verdict.timed_out,
            "notes": json.dumps(dict(rollout.verdict.notes), ensure_ascii=False),
            "advantage": rollout.advantage,
        }
        | _by_token(rollout)
        for group, asked in zip(groups, messages, strict=True)
        for rollout in group.rollouts
        if rollout.verdict is not None
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), unfinished, row_group_size=ROWS_TOGETHER)
    unfinished.rename(path)


def read_trajectories(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, in order, as they were written; a column that an older run did not write yet is empty."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return [_OLDER | row for row in rows]


_OLDER: dict[str, Any] = {"media": [], "messages": "[]", "route": "", "steps": "[]", "notes": "{}"} | dict.fromkeys(
    ("pieces", "advantages", "trainer_logprobs", "entropy", "ratios")
)


def _by_token(rollout: Rollout) -> dict[str, list[float | None] | None]:
    """What became of each token of an answer, aligned with token_ids."""
    names = {"advantages": "advantages", "logprobs": "trainer_logprobs", "entropy": "entropy", "ratios": "ratios"}
    if rollout.learnt is None:
        return dict.fromkeys(names.values())
    columns: dict[str, list[float | None] | None] = {}
    for name, column in names.items():
        numbers = iter(getattr(rollout.learnt, name))
        columns[column] = [next(numbers, None) if kept else None for kept in rollout.loss_mask]
    return columns
