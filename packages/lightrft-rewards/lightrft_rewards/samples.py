"""What goes to a worker and what comes back: plain data that fits into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One answer to judge.

    response: the answer alone, without its prompt; prompt: the text it answers.
    label: what the answer is compared with; any JSON value.
    route: which rewards judge it ("" for the default ones).
    name: how error messages call it.
    messages: the chat that it answers, as {"role": ..., "content": text or parts}; empty: prompt is all there is.
    media: what the messages' parts {"type": modality, "sha256": ...} stand for, in reading order: LightRFT's media
        records (modality, sha256). They stay in this process: workers of rules and functions read text.
    """

    response: str
    label: Any = None
    prompt: str = ""
    route: str = ""
    name: str = "an unnamed sample"
    messages: tuple[Mapping[str, Any], ...] = ()
    media: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What judging one sample gave. Score, error and time-out exclude each other.

    score: the reward; None if judging failed. accuracy: 0 to 1, feeds pass rates and filters; None as for score.
    parts: each reward by name, before its weight. metrics: further numbers for the metrics line.
    error: what went wrong, in which function, on which sample. timed_out: judging exceeded its deadline.
    steps: (how many letters of the response there are up to the end of one of its steps, the step's reward), in order.
    notes: what a judge that writes had to say, by the part it judged; also of an answer that it failed to judge.
    """

    score: float | None = None
    accuracy: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    error: str = ""
    timed_out: bool = False
    steps: tuple[tuple[int, float], ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict[str, str])


_NOTHING = Outcome()


def sample_to_json(sample: Sample) -> dict[str, Any]:
    """The sample's fields without its media; Sample(**...) turns it back."""
    return {item.name: getattr(sample, item.name) for item in fields(sample) if item.name != "media"}


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome's fields, those at their default left out; Outcome(**...) turns it back."""
    values = {item.name: getattr(outcome, item.name) for item in fields(outcome)}
    return {name: value for name, value in values.items() if value != getattr(_NOTHING, name)}
