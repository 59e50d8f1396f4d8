"""ImageGen-CoT-Reward-5K (Wang et al. 2025, arXiv 2505.03318): two images, and a written judgement of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Place
from lightrft_rewards.preferences.values import items_of, medium
from lightrft_rewards.rules.judgement import verdict_of
from lightrft_strategy.data.formats.fields import text_of
from lightrft_strategy.data.parts import Turn, described
from lightrft_strategy.data.rejected import RowError

_LABELS = {0: (0.0, 0.0), 1: (1.0, 0.0), 2: (0.0, 1.0)}


def imagegen_cot(content: Mapping[str, Any], place: Place) -> Comparison:
    """images: two paths; conversations: [{"value": ...}, ...], first what is asked of the judge, with the prompt in it,
    last the judgement, whose <answer> is the label. The judgement is kept as it is written, to be learnt by judges.

    Raises RowError for a row of another form, or whose judgement says neither of the two nor a tie.
    """
    paths, turns = items_of(content, "images", 2), items_of(content, "conversations")
    if len(turns) < 2 or not all(isinstance(turn, Mapping) for turn in turns):
        raise RowError('its "conversations" are not two messages or more, {"value": ...}')
    question, judgement = (text_of(turn, "value") for turn in (turns[0], turns[-1]))
    verdict = verdict_of(judgement)
    if verdict is None:
        raise RowError('its judgement ends in no <answer> that reads "Image 1 is better" or "Image 2 is better"')
    if not all(isinstance(path, str) for path in paths):
        raise RowError(f'its "images" hold what is {described(paths[0])}, not paths')
    return Comparison(
        place.uid,
        (Turn("user", (question.replace("<image>", "").strip(),)),),
        tuple(medium("image", path, "images") for path in paths),
        {"score": _LABELS[verdict]},
        reasoning=judgement.strip(),
        root=place.root(paths[0]),
    )
