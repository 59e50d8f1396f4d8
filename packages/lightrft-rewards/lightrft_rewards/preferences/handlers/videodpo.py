"""VideoDPO (Liu et al. 2024, arXiv 2412.14167): pairs of videos made for a prompt, ranked by a score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Place
from lightrft_rewards.preferences.values import asked, has, medium, number_of
from lightrft_strategy.data.rejected import RowError


def videodpo(content: Mapping[str, Any], place: Place) -> Comparison:
    """frame_caption; video1, the better one, and video2: numbers, of which n is n // 2 in six digits, of the folder
    winvideos if it is even and losevideos if odd. A label, where there is one, is 0 (video1 is better) or 1 (video2).

    Raises RowError for a row of another form.
    """
    paths = [_path(number_of(content, name), name) for name in ("video1", "video2")]
    label = number_of(content, "label") if has(content, "label") else 0.0
    if label not in (0, 1):
        raise RowError(f'its "label" is {label:g}, neither 0 (video1 is better) nor 1 (video2)')
    return Comparison(
        place.uid,
        asked(content, "frame_caption"),
        tuple(medium("video", path, name) for path, name in zip(paths, ("video1", "video2"), strict=True)),
        {"score": (1 - label, label)},
        root=place.root(paths[0]),
    )


def _path(number: float, name: str) -> str:
    if number < 0 or number != int(number):
        raise RowError(f'its "{name}" is {number:g}, not the number of a video')
    return f"{'losevideos' if number % 2 else 'winvideos'}/{int(number) // 2:06}.mp4"
