"""What is done to a reward between the judge and the advantage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

from lightrft_core.types import FinishReason, Group, Verdict


@dataclass(frozen=True)
class RewardShaping:
    """The steps a verdict's score goes through to become a reward, in this order.

    truncated_coefficient: what stop_properly multiplies the score of a truncated answer by.
    overlong_buffer, overlong_share, overlong_factor: DAPO's soft penalty over so many last tokens of the generation
    budget, or, at 0, over this last share of it; none if both are 0.
    length_coefficient: what length_reward is multiplied by.
    clip: (lowest, highest) reward. running_norm: divide by the running deviation; running_mean: and take the mean off.
    """

    truncated_coefficient: float = 1.0
    overlong_buffer: int = 0
    overlong_share: float = 0.0
    overlong_factor: float = 1.0
    length_coefficient: float = 0.0
    clip: tuple[float, float] | None = None
    running_norm: bool = False
    running_mean: bool = False

    def judge(self, group: Group, verdicts: Sequence[Verdict], max_new_tokens: int) -> None:
        """Give a group's rollouts their verdicts, with penalties and bonuses as parts of their own."""
        buffer = self._buffer(max_new_tokens)
        for rollout, judged in zip(group.rollouts, verdicts, strict=True):
            verdict = stop_properly(judged, rollout.finish_reason, self.truncated_coefficient)
            if buffer and verdict.score is not None:
                penalty = overlong_penalty(sum(rollout.loss_mask), max_new_tokens, buffer)
                verdict = _with_part(verdict, "overlong", self.overlong_factor * penalty)
            rollout.verdict = verdict
        if self.length_coefficient:
            for rollout, value in zip(group.rollouts, length_rewards(group), strict=True):
                if rollout.verdict is not None and rollout.verdict.score is not None:
                    rollout.verdict = _with_part(rollout.verdict, "length", self.length_coefficient * value)

    def _buffer(self, max_new_tokens: int) -> int:
        """Tokens at the end of the generation budget that DAPO's penalty rises over; 0: there is none."""
        if self.overlong_buffer or not self.overlong_share:
            return self.overlong_buffer
        return max(1, round(self.overlong_share * max_new_tokens))

    def scale(self, groups: Sequence[Group], moments: RunningMoments) -> None:
        """Set every rollout's reward from its verdict's score, clipped and brought to scale."""
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        for rollout in rollouts:
            score = rollout.verdict.score if rollout.verdict else None
            if score is not None and self.clip is not None:
                score = min(max(score, self.clip[0]), self.clip[1])
            rollout.reward = score
        if self.running_norm:
            moments.include([rollout.reward for rollout in rollouts if rollout.reward is not None])
            for rollout in rollouts:
                if rollout.reward is not None:
                    rollout.reward = moments.normalise(rollout.reward, centre=self.running_mean)


@dataclass
class RunningMoments:
    """Mean and variance of every reward of a run so far."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def include(self, rewards: Sequence[float]) -> None:
        """Take a batch's rewards in (Chan et al. 1979: parallel updating of sums of squares)."""
        if not rewards:
            return
        count = float(len(rewards))
        mean = sum(rewards) / count
        squares = sum((reward - mean) ** 2 for reward in rewards)
        together = self.count + count
        self.squares += squares + (mean - self.mean) ** 2 * self.count * count / together
        self.mean += (mean - self.mean) * count / together
        self.count = together

    def normalise(self, reward: float, *, centre: bool) -> float:
        """The reward in deviations; as it is while no two rewards have differed yet, for then there is no scale."""
        deviation = (self.squares / (self.count - 1)) ** 0.5 if self.count > 1 else 0.0
        if not isfinite(deviation) or deviation <= 1e-8 * max(1.0, abs(self.mean)):
            deviation = 1.0
        return (reward - self.mean if centre else reward) / deviation


def stop_properly(verdict: Verdict, finish_reason: FinishReason, coefficient: float) -> Verdict:
    """Pay an answer that was cut off less: the stop-properly penalty of ProRL v2 (NVIDIA 2025).

    coefficient: 0 to 1 multiplies what the answer earned, so that at 0 only one that came to its end can earn; a score
    below zero stays. A negative coefficient replaces the score. Accuracy stays what the judge said.
    """
    if verdict.score is None or finish_reason is FinishReason.STOP:
        return verdict
    paid = min(verdict.score, verdict.score * coefficient)
    return replace(verdict, score=paid if coefficient >= 0 else coefficient)


def overlong_penalty(length: int, max_length: int, buffer: int) -> float:
    """DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13): 0 up to max_length - buffer, then falling to -1.

    length, max_length, buffer: tokens.
    """
    return -min(max((length - (max_length - buffer)) / buffer, 0.0), 1.0)


def length_rewards(group: Group) -> list[float]:
    """Kimi k1.5's length reward (arXiv 2501.12599, section 2.3.3): shorter answers of a group earn more.

    lambda = 0.5 - (length - shortest) / (longest - shortest) for right answers, min(0, lambda) for wrong ones; 0 if
    all judged answers are of one length. What an answer that was not judged gets means nothing.
    """
    lengths = [sum(rollout.loss_mask) for rollout in group.rollouts]
    judged = [
        length for length, r in zip(lengths, group.rollouts, strict=True) if r.verdict and r.verdict.score is not None
    ]
    shortest, longest = min(judged, default=0), max(judged, default=0)
    if shortest == longest:
        return [0.0] * len(lengths)
    values = [0.5 - (length - shortest) / (longest - shortest) for length in lengths]
    right = [bool(r.verdict and r.verdict.accuracy is not None and r.verdict.accuracy > 0.5) for r in group.rollouts]
    return [value if correct else min(0.0, value) for value, correct in zip(values, right, strict=True)]


def majority_vote(answers: Sequence[str | None]) -> str | None:
    """TTRL's pseudo-label (Zuo et al. 2025, arXiv 2504.16084, eq. 2): the answer most of a group give.

    None where no answer could be read; the first seen wins a tie. None if no answer could be read at all.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    return votes.most_common(1)[0][0] if votes else None


def _with_part(verdict: Verdict, name: str, value: float) -> Verdict:
    assert verdict.score is not None
    return replace(verdict, score=verdict.score + value, parts={**verdict.parts, name: value})
