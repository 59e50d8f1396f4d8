"""Gates: an answer that one reward finds unacceptable earns little, however much the others like it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightrft_rewards.errors import RewardSetupError

_FORM = re.compile(r"(?P<part>[\w.-]+)\s*>=\s*(?P<least>[^:\s]+)\s*:\s*(?P<cap>[^:\s]+)")


@dataclass(frozen=True)
class Gate:
    """Where a part is below `least`, the score is at most `cap`."""

    part: str
    least: float
    cap: float

    def __str__(self) -> str:
        """In the form parse_gates reads."""
        return f"{self.part}>={self.least!r}:{self.cap!r}"

    def shut(self, parts: Mapping[str, float]) -> bool:
        """Whether an answer of these parts is held back."""
        return parts[self.part] < self.least


def parse_gates(text: str) -> tuple[Gate, ...]:
    """Read ``rm.safe>=0:-1,other>=0.5:0``: an answer whose rm.safe is below 0 scores -1 at most, and so on.

    Raises RewardSetupError for another form, a number that is not finite, or a part that has two gates.
    """
    gates: dict[str, Gate] = {}
    for term in text.split(","):
        found = _FORM.fullmatch(term.strip())
        if found is None:
            raise RewardSetupError(f"the gate {term.strip()!r} must be written part>=least:cap, such as rm.safe>=0:-1")
        least, cap = (_number(found[name], term) for name in ("least", "cap"))
        if found["part"] in gates:
            raise RewardSetupError(f"{text!r} has two gates for {found['part']}: keep the stricter one")
        gates[found["part"]] = Gate(found["part"], least, cap)
    return tuple(gates.values())


def capped(score: float, parts: Mapping[str, float], gates: Sequence[Gate]) -> float:
    """The score, at most the cap of every gate that is shut."""
    return min([score, *(gate.cap for gate in gates if gate.shut(parts))])


def _number(text: str, term: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RewardSetupError(f"{text!r} in the gate {term.strip()!r} is not a finite number")
    return value
