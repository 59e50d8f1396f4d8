"""Which judged answers are learnt from."""

from __future__ import annotations

from dataclasses import dataclass

from lightrft_core.types import FinishReason, Group


@dataclass(frozen=True)
class DynamicSampling:
    """Keep only groups that teach something, and sample others in their place (DAPO, arXiv 2503.14476, eq. 11).

    low, high: the mean accuracy of a kept group lies strictly between them; 0 and 1 are the paper's 0 < right < G.
    max_rounds: how often a step may sample before it makes do with what it has.
    """

    low: float = 0.0
    high: float = 1.0
    max_rounds: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1 or self.max_rounds < 1:
            raise ValueError("dynamic sampling needs 0 <= low < high <= 1 and at least one round")

    def keeps(self, group: Group) -> bool:
        """Whether a judged group's accuracy lies in the range and its rewards are not all equal."""
        verdicts = [
            rollout.verdict for rollout in group.rollouts if rollout.verdict and rollout.verdict.score is not None
        ]
        if len({verdict.score for verdict in verdicts}) < 2:
            return False
        accuracies = [verdict.accuracy for verdict in verdicts if verdict.accuracy is not None]
        return self.low < sum(accuracies) / len(accuracies) < self.high if accuracies else True


@dataclass(frozen=True)
class RolloutFilter:
    """Which rollouts of a group enter the loss; those left out still count in their group's mean and deviation.

    mask_truncated: leave out answers that were cut off (DAPO's overlong filtering).
    keep_best: only so many of the others, those of highest reward; 0 keeps all.
    """

    mask_truncated: bool = False
    keep_best: int = 0

    def select(self, group: Group) -> list[int]:
        """Which rollouts of a judged group are learnt from: their places within it, in order."""
        places = [
            i for i, rollout in enumerate(group.rollouts) if rollout.reward is not None and any(rollout.loss_mask)
        ]
        if self.mask_truncated:
            places = [i for i in places if group.rollouts[i].finish_reason is FinishReason.STOP]
        if self.keep_best:
            places = sorted(sorted(places, key=lambda i: -(group.rollouts[i].reward or 0.0))[: self.keep_best])
        return places
