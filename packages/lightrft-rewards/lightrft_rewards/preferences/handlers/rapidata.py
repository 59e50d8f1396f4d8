"""Rapidata's human preferences of videos made from text or from an image: three questions, answered by crowds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_rewards.preferences.comparison import Answer, Comparison
from lightrft_rewards.preferences.handler import Place
from lightrft_rewards.preferences.values import has, medium, number_of
from lightrft_strategy.data.formats.fields import field_of, text_of
from lightrft_strategy.data.parts import Turn
from lightrft_strategy.data.rejected import RowError

METRICS = {"preference": "Preference", "coherence": "Coherence", "alignment": "Alignment"}
"""Head -> the end of its columns' names: weighted_results1_Preference, weighted_results2_Preference."""


def rapidata_t2v(content: Mapping[str, Any], place: Place) -> Comparison:
    """prompt; file_name1, file_name2 in the folder videos or Videos, beside the file or its folder; heads preference,
    coherence and alignment, each by its own weighted results, those that the row has.

    Raises RowError for a row of another form, or one without any result.
    """
    return _compared(content, place, (Turn("user", (text_of(content, "prompt"),)),))


def rapidata_i2v(content: Mapping[str, Any], place: Place) -> Comparison:
    """As rapidata_t2v, the question being the first frame, prompt_asset, and the prompt behind it.

    A file name that is a URL stands for the file of its last two parts, model and name; others lie in videos itself, or
    in one of its folders hailuo-02 and hailuo-02/marey.
    """
    _, source = field_of(content, "prompt_asset")
    image = medium("image", source, "prompt_asset")
    return _compared(content, place, (Turn("user", (*image, "\n" + text_of(content, "prompt"))),))


def _compared(content: Mapping[str, Any], place: Place, question: tuple[Turn, ...]) -> Comparison:
    labels = {
        head: (number_of(content, f"weighted_results1_{name}"), number_of(content, f"weighted_results2_{name}"))
        for head, name in METRICS.items()
        if has(content, f"weighted_results1_{name}") or has(content, f"weighted_results2_{name}")
    }
    if not labels:
        raise RowError('has no result: no "weighted_results1_Preference", ..._Coherence or ..._Alignment')
    found = [_found(text_of(content, name), place) for name in ("file_name1", "file_name2")]
    answers: tuple[Answer, ...] = tuple(
        medium("video", path, name) for path, name in zip(found, ("file_name1", "file_name2"), strict=True)
    )
    return Comparison(place.uid, question, answers, labels, root=place.root(found[0], up=1))


def _found(name: str, place: Place) -> str:
    """The path of a video, in whichever of the layouts it is there; else in the plainest."""
    parts = name.split("/")
    within = ["/".join(parts[-2:])] if name.startswith(("http://", "https://")) else _folders(name)
    paths = [f"{folder}/{path}" for folder in ("videos", "Videos") for path in within]
    return next((path for path in paths if place.holder(path, up=1)), paths[0])


def _folders(name: str) -> list[str]:
    return [name, f"hailuo-02/{name}", f"hailuo-02/marey/{name}"]
