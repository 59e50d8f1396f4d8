"""Whole runs of a tiny model: it learns, from rewards alone, what it is rewarded for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

Run = Callable[..., dict[str, Any]]
Lines = Callable[..., list[dict[str, Any]]]
RowsFile = Callable[..., str]

SHARE_OF_SEVENS = """
def score(prompts, responses, labels):
    return [response.count("7") / 8 for response in responses]
"""


@pytest.fixture
def prompts(rows_file: RowsFile) -> str:
    return rows_file("prompts", [{"input": f"{i}+{9 - i}=", "label": "9"} for i in range(8)])


@pytest.fixture
def sevens(tmp_path: Path) -> str:
    """A reward for answers of eight sevens."""
    (tmp_path / "reward.py").write_text(SHARE_OF_SEVENS)
    return f"{tmp_path / 'reward.py'}:score"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    "flags",
    [{}, {"bf16": True}, {"train_batch_size": 16}, {"max_epochs": 2, "train_batch_size": 32}],
    ids=["on-policy", "bf16", "off-policy", "two epochs"],
)
def test_a_model_learns_what_it_is_rewarded_for(run: Run, prompts: str, sevens: str, flags: dict[str, Any]) -> None:
    rewards = run(prompt_data=prompts, reward_fn=sevens, max_steps=25, **flags)["rewards"]
    assert sum(rewards[:2]) / 2 < 0.15
    assert sum(rewards[-3:]) / 3 > 0.6
