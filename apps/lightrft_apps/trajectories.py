"""Judged answers as Parquet: one row a rollout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lightrft_core import Group

SCHEMA = pa.schema(
    {
        "step": pa.int32(),
        "prompt_uid": pa.string(),
        "occurrence": pa.int32(),
        "sample": pa.int32(),
        "prompt": pa.string(),
        "media": pa.list_(pa.string()),
        "response": pa.string(),
        "label": pa.string(),
        "route": pa.string(),
        "token_ids": pa.list_(pa.int32()),
        "logprobs": pa.list_(pa.float32()),
        "finish_reason": pa.string(),
        "reward": pa.float64(),
        "accuracy": pa.float64(),
        "parts": pa.string(),
        "error": pa.string(),
        "timed_out": pa.bool_(),
        "advantage": pa.float64(),
    }
)


def write_trajectories(path: Path, step: int, groups: Sequence[Group]) -> None:
    """Write the rollouts of judged groups; label and parts as JSON. The file appears whole or not at all.

    media: of each its modality and the hash of what it shows or plays, in reading order.
    """
    rows = [
        {
            "step": step,
            "prompt_uid": group.prompt.uid,
            "occurrence": group.prompt.occurrence,
            "sample": rollout.sample,
            "prompt": group.prompt.text,
            "media": [f"{medium.modality}:{medium.sha256}" for medium in group.prompt.media],
            "response": rollout.text,
            "label": json.dumps(group.prompt.label, ensure_ascii=False, default=str),
            "route": group.prompt.route,
            "token_ids": rollout.token_ids,
            "logprobs": rollout.logprobs,
            "finish_reason": str(rollout.finish_reason),
            "reward": rollout.verdict.score,
            "accuracy": rollout.verdict.accuracy,
            "parts": json.dumps(dict(rollout.verdict.parts)),
            "error": rollout.verdict.error,
            "timed_out": rollout.verdict.timed_out,
            "advantage": rollout.advantage,
        }
        for group in groups
        for rollout in group.rollouts
        if rollout.verdict is not None
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), unfinished)
    unfinished.rename(path)


def read_trajectories(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, in order, as they were written; a column that an older run did not write yet is empty."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return [{"media": [], "route": ""} | row for row in rows]
