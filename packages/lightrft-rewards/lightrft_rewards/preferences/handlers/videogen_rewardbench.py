"""VideoGen-RewardBench (Liu et al. 2025, arXiv 2501.13918): two videos, compared in four ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Place
from lightrft_rewards.preferences.values import asked, has, makers_of, medium
from lightrft_strategy.data.formats.fields import text_of
from lightrft_strategy.data.parts import quoted
from lightrft_strategy.data.rejected import RowError

HEADS = ("VQ", "MQ", "TA", "Overall")
"""Visual quality, motion quality, text alignment, all together."""
_LABELS = {"a": (1.0, 0.0), "b": (0.0, 1.0), "same": (0.0, 0.0)}


def videogen_rewardbench(content: Mapping[str, Any], place: Place) -> Comparison:
    """prompt; path_A, path_B beside the file; A_model, B_model; VQ, MQ, TA, Overall: A, B or same, each a head; one
    that is left blank is a head that this pair has no label of.

    Raises RowError for a row of another form, or one without any label.
    """
    labels = {head: _label(text_of(content, head), head) for head in HEADS if _given(content, head)}
    if not labels:
        raise RowError(f"has no label: each of {', '.join(HEADS)} is blank or missing")
    paths = [text_of(content, name) for name in ("path_A", "path_B")]
    return Comparison(
        place.uid,
        asked(content, "prompt"),
        tuple(medium("video", path, name) for path, name in zip(paths, ("path_A", "path_B"), strict=True)),
        labels,
        makers=makers_of(content, "A_model", "B_model"),
        root=place.root(paths[0]),
    )


def _given(content: Mapping[str, Any], head: str) -> bool:
    """Whether there is a label; tables written by pandas say "nan" for none."""
    value = content.get(head)
    return has(content, head) and value == value and str(value).strip().lower() not in ("", "nan")


def _label(said: str, head: str) -> tuple[float, float]:
    label = _LABELS.get(said.strip().lower())
    if label is None:
        raise RowError(f'its "{head}" is {quoted(said)}: neither A, B nor same')
    return label
