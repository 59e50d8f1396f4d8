"""What a run ran on: code revision and package versions, for its config.yaml."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "lightrft-apps",
    "lightrft-core",
    "lightrft-multimodal",
    "lightrft-rewards",
    "lightrft-strategy",
    "torch",
    "transformers",
)


def environment() -> dict[str, str]:
    """Versions by package, and the git revision of the code if it is a checkout ("+changes" if it was edited)."""
    versions = {package: metadata.version(package) for package in PACKAGES}
    return versions | {"python": platform.python_version(), "revision": _revision()}


def _revision() -> str:
    folder = Path(__file__).parent
    try:
        head = _git("rev-parse", "HEAD", folder=folder)
        return f"{head}+changes" if _git("status", "--porcelain", folder=folder) else head
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"


def _git(*words: str, folder: Path) -> str:
    run = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.strip()
