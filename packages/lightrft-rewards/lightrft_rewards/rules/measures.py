"""What can be counted in an answer: how long it is, and how often it repeats itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightrft_rewards.errors import LabelError, RewardSetupError

_ALONE = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+(?:['\u2019][^\W{_ALONE}]+)*")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?\s*(words|characters)?")
_USUAL_N = 4


@dataclass(frozen=True)
class Span:
    """The lengths that are wanted, from low to high, in "words" or "characters"."""

    low: int
    high: int
    unit: str

    def reward(self, text: str) -> float:
        """1 within the span, and less by the distance to its nearest bound as a share of that bound: half the lower one
        and one and a half of the upper one earn 0.5, nothing at all and twice the upper one 0."""
        length = len(words(text)) if self.unit == "words" else len(text)
        if length < self.low:
            return length / self.low
        return max(0.0, 1 - (length - self.high) / self.high) if length > self.high else 1.0


def target_length(response: str, label: Any) -> float:
    """0 to 1 by how near the response's length is to the label's, too long as well as too short (Span.reward).

    label: {"target_length": 200}, or "100-300", or "800-1200 characters" in place of the number; words if it does not
    say.
    Raises LabelError for any other.
    """
    wanted = label.get("target_length") if isinstance(label, Mapping) else None
    try:
        return _span(str(wanted)).reward(response)
    except ValueError:
        raise LabelError(
            'rule target_length needs a label such as {"target_length": "100-300 words"}, unless the rule itself says '
            f"it (target_length@100-300); this label is {label!r:.200}"
        ) from None


def target_length_of(text: str) -> Callable[[str, Any], float]:
    """The rule for one length, as `target_length` reads it, the label playing no part. Raises RewardSetupError."""
    try:
        span = _span(text)
    except ValueError:
        raise RewardSetupError(
            f"rule target_length@{text}: write it as target_length@200, target_length@100-300 or "
            "target_length@800-1200characters"
        ) from None
    return lambda response, label: span.reward(response)


def repetition(response: str, label: Any = None, *, n: int = _USUAL_N) -> float:
    """Minus the share of the response's n-grams of words that occurred before in it: 0 for one that never repeats n
    words, near -1 for one that does nothing else (the penalty of Yeo et al. 2025, arXiv 2502.03373, as a share).

    0 for fewer than n words. The label plays no part.
    """
    found = [word.casefold() for word in words(response)]
    grams = [tuple(found[start : start + n]) for start in range(len(found) - n + 1)]
    return len(set(grams)) / len(grams) - 1 if grams else 0.0


def repetition_of(text: str) -> Callable[[str, Any], float]:
    """The rule for n-grams of another n. Raises RewardSetupError."""
    if not text.isdecimal() or int(text) < 1:
        raise RewardSetupError(f"rule repetition@{text}: write the number of words, as in repetition@3")
    return lambda response, label: repetition(response, label, n=int(text))


def words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits; a Chinese, Japanese or Korean character is one by itself."""
    return _WORD.findall(text)


def _span(text: str) -> Span:
    """Raises ValueError for a text that is none."""
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    low = int(found[1])
    high = int(found[2] or low)
    if not 0 < high >= low:
        raise ValueError(text)
    return Span(low, high, found[3] or "words")
