"""What a reward model minimises over contests, and what is measured of it: the Objective of SupervisedTrainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightrft_core import Batch, BatchSizes, Metrics, Paces, Ranks
from lightrft_rewards.models.batches import ContestBatch, contest_batches
from lightrft_rewards.models.contest_losses import LossOptions, Scores, decided, tied
from lightrft_rewards.models.passage import Contest
from lightrft_rewards.models.reward_model import RewardOutput


@dataclass(frozen=True)
class RewardObjective:
    """heads: the model's. loss_options: what each of them learns by. model: what the metrics' names begin with.

    Each contest counts the same, each term within a contest too (Ouyang et al. 2022, arXiv 2203.02155, eq. 1).
    """

    heads: tuple[str, ...] = ("score",)
    loss_options: LossOptions = field(default_factory=LossOptions)
    model: str = "rm"

    def cut(
        self, contests: Sequence[Contest], ranks: Ranks, sizes: BatchSizes, paces: Paces | None = None
    ) -> list[Batch]:
        """This rank's micro-batches of one step: see contest_batches."""
        teaches = self.loss_options.teaches
        return [*contest_batches(contests, ranks, sizes, paces, heads=self.heads, teaches=teaches)]

    def loss(self, output: RewardOutput, batch: Batch) -> tuple[Tensor, Metrics]:
        """The batch's share of the step's loss, and its metrics."""
        assert isinstance(batch, ContestBatch)
        total = output.means.sum() * 0.0
        if output.log_variances is not None:
            total = total + output.log_variances.sum() * 0.0
        for head, scores in enumerate(columns(output, batch)):
            terms = self.loss_options.terms(scores)
            many = torch.bincount(terms.contest, minlength=len(batch.contest_weights)).clamp(min=1)
            weights = (batch.contest_weights[:, head] / many)[terms.contest]
            total = total + (weights.to(terms.losses.dtype) * terms.losses).sum()
        return total, self.measure(output, batch)

    def measure(self, output: RewardOutput, batch: Batch) -> Metrics:
        """Of all pairs of one contest with labels, for each head (rm/HEAD/... where there are several):

        accuracy: of those whose labels differ, where the better one has the strictly greater reward. undecided_share:
        of the same, where rewards are equal. margin, chosen_reward, rejected_reward: of the same. tie_share: of all
        pairs, those with equal labels. reward, reward_square: over all passages with labels. sigma: of uncertain heads.
        squared_error: of regression.
        By cross_entropy nothing is compared. accuracy: of what has a label, where the reward is on its side of 0 (of a
        half there is none). good_share: where the label is more than a half. first_error_accuracy: of solutions in
        steps, where the first one that is not good is found, or found to be missing (ProcessBench, Zheng et al. 2024,
        arXiv 2412.06559, section 3.1).
        """
        assert isinstance(batch, ContestBatch)
        metrics = Metrics()
        for head, scores in zip(self.heads, columns(output, batch), strict=True):
            name, known = f"{self.model}/{head}" if len(self.heads) > 1 else self.model, scores.known()
            if self.loss_options.name == "cross_entropy":
                measure_judgements(name, known, metrics, by_steps=batch.places is not None)
            else:
                self._compare(name, known, metrics)
            rewards = known.means.detach().double()
            metrics.mean(f"{name}/reward", rewards)
            metrics.mean(f"{name}/reward_square", rewards.square())
            if known.log_variances is not None:
                metrics.mean(f"{name}/sigma", (known.log_variances.detach().double() / 2).exp())
        return metrics

    def _compare(self, name: str, scores: Scores, metrics: Metrics) -> None:
        better, worse = decided(scores)
        rewards = scores.means.detach().double()
        margin = rewards[better] - rewards[worse]
        metrics.mean(f"{name}/accuracy", margin > 0)
        metrics.mean(f"{name}/undecided_share", margin == 0)
        metrics.mean(f"{name}/margin", margin)
        metrics.mean(f"{name}/chosen_reward", rewards[better])
        metrics.mean(f"{name}/rejected_reward", rewards[worse])
        metrics.mean(f"{name}/tie_share", [0.0] * len(better) + [1.0] * len(tied(scores).better))
        if self.loss_options.name == "regression":
            metrics.mean(f"{name}/squared_error", (rewards - scores.labels).square())


def measure_judgements(name: str, scores: Scores, metrics: Metrics, *, by_steps: bool) -> None:
    """What a model says of each passage, or step, by itself: see RewardObjective.measure."""
    rewards, good = scores.means.detach(), scores.labels > 0.5
    decided_labels = scores.labels != 0.5
    right = torch.where(good, rewards > 0, rewards < 0)
    metrics.mean(f"{name}/accuracy", right[decided_labels])
    metrics.mean(f"{name}/good_share", good)
    if by_steps:
        first = [
            (_first(rewards[own] <= 0), _first(~good[own]))
            for own in (scores.contest == number for number in set(scores.contest.tolist()))
        ]
        metrics.mean(f"{name}/first_error_accuracy", [found == true for found, true in first])


def _first(places: Tensor) -> int:
    """The first place that is True; -1: none is."""
    found = places.nonzero()
    return int(found[0]) if len(found) else -1


def columns(output: RewardOutput, batch: ContestBatch) -> list[Scores]:
    """What each head says, beside its labels."""
    return [
        Scores(
            output.means[:, head],
            None if output.log_variances is None else output.log_variances[:, head],
            batch.labels[:, head],
            batch.contest,
        )
        for head in range(output.means.shape[1])
    ]
