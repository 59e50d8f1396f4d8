"""Numbers as a terminal shows them: rows of bars, durations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

BARS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉"


def spark(values: Sequence[float], width: int) -> str:
    """The values as a row of at most `width` bars, lowest to highest; of more values, the mean of each stretch."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) > width:
        edges = [round(i * len(known) / width) for i in range(width + 1)]
        known = [math.fsum(known[a:b]) / (b - a) for a, b in pairwise(edges)]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in known)


def bar(share: float, width: int) -> str:
    """A bar of this share of the width, to an eighth of a letter."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def duration(seconds: float) -> str:
    """42 s, 3 min 05 s, 2 h 07 min, 3 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{seconds:.1f} s" if 0 < seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def number(value: float) -> str:
    """Four digits that count."""
    return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.3e}"
