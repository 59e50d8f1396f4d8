"""What a tracker's process may know: a configuration without secrets, an environment without a way out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightrft_apps.recording import secrets

_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)S?$")

_OF_TRACKERS = ("WANDB_", "SWANLAB_", "TRACKIO_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""How variables begin that can make a tracker's library send something."""

SHORTEST = 8
"""Letters of a variable's value that is looked for: a shorter one may be an ordinary word."""


def without_secrets(values: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The values of flags, with what looks like a secret hidden, and what variables named as secrets hold."""
    held = [text for name, text in environment.items() if _SECRET.search(name) and len(text) >= SHORTEST]
    known = {name: _hiding(value, sorted(held, key=len, reverse=True)) for name, value in values.items()}
    return secrets.without_secrets(known, known)


def _hiding(value: Any, held: list[str]) -> Any:
    match value:
        case str():
            for secret in held:
                value = value.replace(secret, secrets.HIDDEN)
            return value
        case dict():
            return {name: _hiding(item, held) for name, item in value.items()}
        case list() | tuple():
            return [_hiding(item, held) for item in value]
    return value


def environment_of(tracker_room: Path, environment: Mapping[str, str], *, online: bool) -> dict[str, str]:
    """The environment of a tracker's process, whose files are to lie in that folder.

    Offline it holds no key, no address to send to, and no file of settings outside the run.
    """
    room = {"TRACKIO_DIR": str(tracker_room)}
    if online:
        return {**environment, **room}
    kept = {name: value for name, value in environment.items() if not name.startswith(_OF_TRACKERS)}
    silent = {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "SWANLAB_ROOT": str(tracker_room),
        "SWANLAB_CONFIG_DIR": str(tracker_room),
    }
    return kept | silent | room
