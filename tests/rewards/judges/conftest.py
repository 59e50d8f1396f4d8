"""A tokenizer of whole words, which every test of judges reads by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import toys


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Path:
    return toys.save_model(tmp_path_factory.mktemp("judge"), tiny_model)


@pytest.fixture(scope="session")
def tokenizer(judge_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(judge_folder)
