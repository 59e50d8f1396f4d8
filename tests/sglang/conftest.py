"""Tests that need SGLang's own code; where it is not installed there is nothing to collect."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lightrft_strategy.engines.config import EngineConfig

collect_ignore_glob = [] if find_spec("sglang") else ["test_*.py", "loopback.py"]


@pytest.fixture(scope="module")
def policy(tiny_model: Any) -> Any:
    """The trainer's model."""
    return tiny_model(seed=3, max_position_embeddings=64)


@pytest.fixture(scope="module")
def config(policy: Any, tmp_path_factory: pytest.TempPathFactory) -> EngineConfig:
    """An engine for that model."""
    folder: Path = tmp_path_factory.mktemp("model")
    policy.save_pretrained(folder)
    return EngineConfig(str(folder), "float32", max_model_len=48, seed=5, max_num_seqs=8, timeout=420.0)
