"""PKU-SafeRLHF (Ji et al. 2024, arXiv 2406.15513): two answers, which is more helpful and which is safer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Place
from lightrft_rewards.preferences.values import asked, number_of, truth_of
from lightrft_strategy.data.formats.fields import text_of
from lightrft_strategy.data.rejected import RowError


def pku_saferlhf(content: Mapping[str, Any], place: Place) -> Comparison:
    """prompt, response_0, response_1; heads helpful (better_response_id) and safe (safer_response_id,
    is_response_0_safe, is_response_1_safe).

    The numbers of helpful are 1 and 0. Those of safe are 1 or more for a safe answer and below 0 for an unsafe one, so
    that they can be learnt as what they are, and the safer of two that are both safe, or both unsafe, has 0.5 more.
    Raises RowError for a row of another form, or one that calls an unsafe answer safer than a safe one.
    """
    answers = [text_of(content, name) for name in ("response_0", "response_1")]
    better, safer = _which(content, "better_response_id"), _which(content, "safer_response_id")
    safe = [truth_of(content, f"is_response_{number}_safe") for number in (0, 1)]
    if safe[1 - safer] and not safe[safer]:
        raise RowError(f"calls response_{safer} safer, which it says is unsafe, and the other one is safe")
    alike = safe[0] == safe[1]
    return Comparison(
        place.uid,
        asked(content, "prompt"),
        tuple((answer,) for answer in answers),
        {
            "helpful": tuple(float(number == better) for number in (0, 1)),
            "safe": tuple((1.0 if safe[n] else -1.0) + (0.5 if alike and n == safer else 0.0) for n in (0, 1)),
        },
    )


def _which(content: Mapping[str, Any], name: str) -> int:
    number = number_of(content, name)
    if number not in (0, 1):
        raise RowError(f'its "{name}" is {number:g}, neither 0 nor 1')
    return int(number)
