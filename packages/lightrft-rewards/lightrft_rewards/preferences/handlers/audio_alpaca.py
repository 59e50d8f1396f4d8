"""Audio-alpaca (Majumder et al. 2024, arXiv 2404.09956): two sounds made for a prompt, one closer to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Place
from lightrft_rewards.preferences.values import asked, medium
from lightrft_strategy.data.formats.fields import field_of


def audio_alpaca(content: Mapping[str, Any], place: Place) -> Comparison:
    """prompt; chosen, rejected: {"bytes": ..., "path": ...}. strategy, how the worse one was made, is no label.

    Raises RowError for a row of another form.
    """
    sounds = [medium("audio", field_of(content, name)[1], name) for name in ("chosen", "rejected")]
    return Comparison(place.uid, asked(content, "prompt"), tuple(sounds), {"score": (1.0, 0.0)}, root=place.root(""))
