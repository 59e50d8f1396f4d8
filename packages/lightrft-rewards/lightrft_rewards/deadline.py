"""How long the judging of one sample may take in this process, for rules that have to share out that time."""

from __future__ import annotations

_seconds = [10.0]


def sample_seconds() -> float:
    """The deadline of a sample in seconds: a worker's --reward_timeout, elsewhere its default."""
    return _seconds[0]


def set_sample_seconds(seconds: float) -> None:
    """A worker says so before it judges."""
    _seconds[0] = seconds
