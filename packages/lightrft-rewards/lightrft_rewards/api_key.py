"""Keys of services: read from the environment alone, and kept out of everything that is written."""

from __future__ import annotations

import os

from lightrft_rewards.errors import RewardSetupError


def read_key(variable: str | None) -> str:
    """What an environment variable holds; "" without a variable.

    Raises RewardSetupError if it is empty, or no header can hold it.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise RewardSetupError(f"the environment variable {variable}, which should hold a service's key, is not set")
    if not (key.isascii() and key.isprintable()):
        raise RewardSetupError(f"the environment variable {variable} holds letters that no key has")
    return key


def without_key(text: str, key: str) -> str:
    """The text with the key struck out: a service may quote what it was sent."""
    return text.replace(key, "***") if key else text
