"""What a run's config.yaml says of the machine's software."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest
import torch

from lightrft_apps.recording import environment as module
from lightrft_apps.recording.environment import environment


def test_versions_and_revision_are_recorded() -> None:
    found = environment()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["python"] == platform.python_version()
    assert {"lightrft-core", "lightrft-apps", "transformers"} <= found.keys()
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|not a checkout", found["revision"])


def test_an_installation_without_git_is_no_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment()["revision"] == "not a checkout"


def test_a_wheel_outside_of_any_repository_is_no_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = Path(shutil.copy(Path(module.__file__), tmp_path))
    monkeypatch.setattr(module, "__file__", str(copy))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["revision"] == "not a checkout"
