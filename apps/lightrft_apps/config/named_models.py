"""Reward models as --reward_pretrain names them, for every command that takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightrft_apps.config.errors import ConfigError

ALONE = "rm"
"""What the only model is called if it has no name."""


def named_models(given: str) -> dict[str, str]:
    """name -> folder of each reward model, of folders or hub names that are separated by commas, each as NAME=FOLDER or
    alone.

    The only one is called rm if it has no name; of several, one without a name is called by the last part of its path
    that tells it from the others. What exists is one folder, whatever letters it has. Raises ConfigError for a name
    that is there twice, or a folder that is left out.
    """
    terms = [given] if Path(given).exists() else [term.strip() for term in given.split(",")]
    unnamed = [term for term in terms if Path(term).exists() or "=" not in term]
    models: dict[str, str] = {}
    for term in terms:
        name, folder = (_called(term, terms, unnamed), term) if term in unnamed else map(str.strip, term.split("=", 1))
        if not name or not folder:
            raise ConfigError([f"--reward_pretrain {given}: {term!r} names no model"])
        if name in models:
            raise ConfigError([f"--reward_pretrain {given}: it names two models {name}; call one of them otherwise"])
        models[name] = folder
    return models


def _called(folder: str, terms: Sequence[str], unnamed: Sequence[str]) -> str:
    """As much of the end of a path as no other that is unnamed has."""
    if len(terms) == 1:
        return ALONE if folder else ""
    parts = Path(folder).parts
    for count in range(1, len(parts)):
        if sum(Path(other).parts[-count:] == parts[-count:] for other in unnamed) == 1:
            return "/".join(parts[-count:])
    return folder
