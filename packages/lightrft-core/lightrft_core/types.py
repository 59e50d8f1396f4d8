"""What flows through the loop: prompts in, rollouts out, a verdict on each. Plain data, no tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = Sequence[float] | NDArray[np.float32]

Part: TypeAlias = Mapping[str, Any]
"""One piece of a message: ``{"type": "text", "text": ...}``, or an image, video or audio part."""


@dataclass(frozen=True)
class Message:
    """One chat turn. content: plain text, or parts of any modality in reading order."""

    role: str
    content: str | Sequence[Part]


class Media(Protocol):
    """An image, a video or a sound, known by its content: of two with one hash, either may be read for the other."""

    @property
    def modality(self) -> str:
        """ "image", "video" or "audio"."""
        ...

    @property
    def sha256(self) -> str:
        """Of what it shows or plays, in hexadecimal."""
        ...


@dataclass(frozen=True)
class Prompt:
    """One task for the policy.

    uid: names the row it came from (``train.jsonl:12``); stable between runs, the key of its randomness.
    messages: the chat, before the model's template.
    text: the rendered prompt; token_ids: the same as the policy reads it.
    label: what a reward compares the answer with; any JSON value, None without one.
    route: which rewards judge it ("" for the run's own).
    occurrence: how often the run has drawn this row before (its episode).
    media: what its messages show and play, in reading order; each has placeholder tokens in token_ids.
    """

    uid: str
    messages: tuple[Message, ...]
    text: str
    token_ids: tuple[int, ...]
    label: Any = None
    route: str = ""
    occurrence: int = 0
    media: tuple[Media, ...] = ()


class FinishReason(StrEnum):
    """Why a rollout ended."""

    STOP = "stop"
    """The policy produced an end-of-sequence or stop token; that token is part of token_ids."""
    LENGTH = "length"
    """The token budget ran out: the answer is truncated."""


StepReward: TypeAlias = tuple[int, float]
"""How many letters of an answer's text there are up to the end of one of its steps, and the step's reward."""

Credit: TypeAlias = tuple[int, float]
"""The number of an answer's token, from 0, and a reward that arrives there."""


@dataclass(frozen=True)
class Verdict:
    """What the rewards say of one rollout. Score, error and time-out exclude each other.

    score: the reward; None if there is none because judging failed. A failure is never a zero.
    accuracy: 1 right, 0 wrong, or the share in between; feeds pass rates and filters. None as for score.
    parts: each reward by name, before its weight.
    metrics: further numbers to average into the metrics line.
    error: what went wrong and in which function; "" if nothing did.
    timed_out: judging exceeded its deadline.
    steps: what the steps of the answer are worth, in their order, where that was judged.
    credit: what arrives at tokens of its own, besides the score, which arrives at the last.
    notes: what a judge that writes had to say, by the part it judged.
    """

    score: float | None
    accuracy: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    error: str = ""
    timed_out: bool = False
    steps: tuple[StepReward, ...] = ()
    credit: tuple[Credit, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass
class Learnt:
    """What became of an answer in the step that learnt from it; one number for each token that carries loss.

    advantages: before its correction. The others stay empty if the forward pass left the answer out: no signal.
    logprobs: log-probability by the policy as it sampled, computed by the trainer: less the rollout's own, the gap.
    entropy, ratios: of the distribution each token was drawn from, and the new probability over the old, both as they
    were when the answer was last learnt from.
    """

    advantages: Numbers
    logprobs: Numbers = ()
    entropy: Numbers = ()
    ratios: Numbers = ()


@dataclass
class Rollout:
    """One sampled answer, kept as the token ids the engine produced (never decoded and encoded again).

    token_ids: [time] the answer, its end token included.
    logprobs: [time] log-probability of each token under the law it was drawn from (temperature, top-p, top-k applied).
    loss_mask: [time] False where a token was not the policy's own.
    sample: its number within the group, the last part of its random key.
    text: token_ids decoded, special tokens left out: what rewards read.
    reward: what advantages are computed from: the verdict's score, shaped and scaled. None as for the score.
    advantage: the mean over the answer's tokens. learnt: token by token; None if it was not chosen to learn from.
    """

    sample: int
    token_ids: list[int]
    logprobs: list[float]
    loss_mask: list[bool]
    finish_reason: FinishReason
    text: str
    verdict: Verdict | None = None
    reward: float | None = None
    advantage: float = 0.0
    learnt: Learnt | None = None


@dataclass
class Group:
    """The n rollouts of one prompt. error: why there are none, naming the prompt; "" if there are."""

    prompt: Prompt
    rollouts: list[Rollout]
    error: str = ""
