"""The arithmetic of batches, as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from lightrft_apps.config import RLConfig, describe_batches


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        (
            {"rollout_batch_size": 16, "train_batch_size": 64},
            "16 prompts x 8 samples = 128 rollouts a step; train_batch_size 64: 2 optimiser steps a step "
            "(1 off-policy)",
        ),
        (
            {"rollout_batch_size": 16},
            "16 prompts x 8 samples = 128 rollouts a step; train_batch_size 128: 1 optimiser step a step (on-policy)",
        ),
        (
            {"rollout_batch_size": 16, "train_batch_size": 64, "max_epochs": 3},
            "16 prompts x 8 samples = 128 rollouts a step; train_batch_size 64 x 3 epochs: 6 optimiser steps a step "
            "(5 off-policy)",
        ),
        (
            {"rollout_batch_size": 1, "n_samples_per_prompt": 10, "train_batch_size": 4},
            "1 prompt x 10 samples = 10 rollouts a step; train_batch_size 4: 3 optimiser steps a step, "
            "the last of each pass with 2 samples (2 off-policy)",
        ),
    ],
)
def test_batches_are_described(sizes: dict[str, Any], sentence: str) -> None:
    config = RLConfig.create(pretrain="model", prompt_data="prompts", output_dir="run", **sizes)
    assert describe_batches(config) == sentence
