"""OmniRewardBench (Jin et al. 2025, arXiv 2510.23451): two images, videos or sounds, judged by a criterion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Place, Reader
from lightrft_rewards.preferences.values import asked, makers_of, medium
from lightrft_strategy.data.formats.fields import field_of, text_of
from lightrft_strategy.data.parts import quoted
from lightrft_strategy.data.rejected import RowError

_LABELS = {"response1": (1.0, 0.0), "response2": (0.0, 1.0), "tie": (0.0, 0.0)}


def omnirewardbench(modality: str) -> Reader:
    """prompt; response1_path and response2_path (of videos response1, response2) in the folder media_data, beside the
    file or its folder; criteria, what "better" means; criteria_preference: response1, response2, or tie (any other name
    that begins with it, "equal" and "both" mean the same); model1, model2. Raises RowError for a row of another form.
    """

    def read(content: Mapping[str, Any], place: Place) -> Comparison:
        columns = [("response1_path", "response1"), ("response2_path", "response2")]
        names = [pair[::-1] if modality == "video" else pair for pair in columns]
        media = [(field_of(content, *pair)[0], f"media_data/{text_of(content, *pair)}") for pair in names]
        return Comparison(
            place.uid,
            asked(content, "prompt"),
            tuple(medium(modality, path, name) for name, path in media),
            {"score": _labels(text_of(content, "criteria_preference"))},
            criterion=text_of(content, "criteria").strip(),
            makers=makers_of(content, "model1", "model2"),
            root=place.root(media[0][1], up=1),
        )

    return read


def _labels(preference: str) -> tuple[float, float]:
    said = preference.strip().lower()
    if said in _LABELS:
        return _LABELS[said]
    if said.startswith(("tie", "equal", "both", "same")):
        return _LABELS["tie"]
    raise RowError(f'its "criteria_preference" is {quoted(preference)}: neither response1, response2 nor tie')
