"""HPDv3 (Ma et al. 2025, arXiv 2508.03789): two images made for a prompt, and how many people preferred which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Place
from lightrft_rewards.preferences.values import asked, has, items_of, makers_of, medium, number
from lightrft_strategy.data.formats.fields import text_of
from lightrft_strategy.data.rejected import RowError


def hpdv3(content: Mapping[str, Any], place: Place) -> Comparison:
    """prompt, path1 (preferred), path2, relative to the file's folder; model1, model2.

    The labels are 1 and 0, or where the row has the votes, choice_dist, what share of them each got: the greater one is
    path1's, in whichever order they stand, and as many votes for each are a tie. confidence follows from the votes.
    Raises RowError for a row of another form.
    """
    paths = [text_of(content, name) for name in ("path1", "path2")]
    labels = (1.0, 0.0)
    if has(content, "choice_dist"):
        votes = sorted((number(vote, "choice_dist") for vote in items_of(content, "choice_dist", 2)), reverse=True)
        if votes[1] < 0 or votes[0] <= 0:
            raise RowError(f'its "choice_dist" {votes} are not the votes of anybody')
        labels = (votes[0] / sum(votes), votes[1] / sum(votes))
    return Comparison(
        place.uid,
        asked(content, "prompt"),
        tuple(medium("image", path, name) for path, name in zip(paths, ("path1", "path2"), strict=True)),
        {"score": labels},
        makers=makers_of(content, "model1", "model2"),
        root=place.root(paths[0]),
    )
