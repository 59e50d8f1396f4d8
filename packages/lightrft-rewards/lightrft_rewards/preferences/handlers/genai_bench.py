"""GenAI-Bench of images (Li et al. 2024, arXiv 2406.13743), and the arena of the same name (arXiv 2406.04485)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Place
from lightrft_rewards.preferences.values import asked, has, makers_of, medium, number
from lightrft_strategy.data.formats.fields import field_of, text_of
from lightrft_strategy.data.parts import described, quoted
from lightrft_strategy.data.rejected import RowError

_VOTES = {"leftvote": (1.0, 0.0), "rightvote": (0.0, 1.0), "tievote": (0.0, 0.0), "bothbad_vote": (0.0, 0.0)}


def genai_bench(content: Mapping[str, Any], place: Place) -> Comparison:
    """Prompt; HumanRatings: {model: [ratings]}; a column with the image of each of these models. One comparison of all
    models' images, the label being the mean rating, so that every two with different means are a pair.

    A row of the arena instead has prompt, left_image, right_image (or left_video, right_video), left_model,
    right_model and vote_type: leftvote, rightvote, tievote, bothbad_vote (a tie).
    Raises RowError for a row of another form, or with images of less than two rated models.
    """
    if has(content, "vote_type"):
        return _arena(content, place)
    _, ratings = field_of(content, "HumanRatings")
    if not isinstance(ratings, Mapping):
        raise RowError(f'its "HumanRatings" are {described(ratings)}, not an object with a list for each model')
    means = {model: mean(values, model) for model, values in ratings.items() if values and has(content, model)}
    if len(means) < 2:
        raise RowError(f"has the images of {len(means)} rated models: two are compared")
    return Comparison(
        place.uid,
        asked(content, "Prompt", "prompt"),
        tuple(medium("image", content[model], model) for model in means),
        {"score": tuple(means.values())},
        makers=tuple(means),
        root=place.root(""),
    )


def mean(values: Any, model: str) -> float:
    """Of the ratings of a model. Raises RowError if they are no list of numbers."""
    if not isinstance(values, list | tuple) or not values:
        raise RowError(f"its ratings of {quoted(model)} are {described(values)}, not a list of numbers")
    return sum(number(value, str(model)) for value in values) / len(values)


def _arena(content: Mapping[str, Any], place: Place) -> Comparison:
    vote = text_of(content, "vote_type").strip().lower()
    if vote not in _VOTES:
        raise RowError(f'its "vote_type" is {quoted(vote)}: there are {", ".join(_VOTES)}')
    modality = "video" if has(content, "left_video") else "image"
    names = [f"{side}_{modality}" for side in ("left", "right")]
    return Comparison(
        place.uid,
        asked(content, "prompt"),
        tuple(medium(modality, field_of(content, name)[1], name) for name in names),
        {"score": _VOTES[vote]},
        makers=makers_of(content, "left_model", "right_model"),
        root=place.root(""),
    )
