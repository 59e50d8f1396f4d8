"""Learning from given answers: what an example is, how a step's examples become batches, and what is minimised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightrft_core.aggregation import Aggregation
from lightrft_core.batching import Batch, TrainingSequence
from lightrft_core.metrics import Metrics
from lightrft_core.pace import Paces
from lightrft_core.plan import BatchSizes, deal, ready, weigh
from lightrft_core.protocols import PolicyOutput, Ranks
from lightrft_core.types import Media


@dataclass(frozen=True)
class Example:
    """Tokens to read, and which of them to learn to write.

    uid: names the row it came from (``train.jsonl:12``).
    token_ids: [time] prompt and answers, as the model reads them.
    loss_mask: [time] which tokens bear loss; at least one does, and never the first, which follows nothing.
    media: what its placeholder tokens stand for, in reading order; all of these come before the first loss token.
    """

    uid: str
    token_ids: Sequence[int]
    loss_mask: Sequence[int]
    media: tuple[Media, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """What is counted of it: tokens that are read, and those that bear loss."""
        return {"tokens": len(self.token_ids), "loss_tokens": sum(map(bool, self.loss_mask))}

    def sequence(self, place: int) -> TrainingSequence:
        """As the loss sees it: the prompt ends before the first loss token, and nothing is read after the last.

        Raises ValueError if no token bears loss, or the first one does.
        """
        places = [index for index, learnt in enumerate(self.loss_mask) if learnt]
        if not places or places[0] == 0:
            raise ValueError(f"{self.uid}: tokens that bear loss must be there, and follow another token")
        answer = slice(places[0], places[-1] + 1)
        return TrainingSequence(
            prompt_ids=tuple(self.token_ids[: places[0]]),
            response_ids=list(self.token_ids[answer]),
            loss_mask=[bool(learnt) for learnt in self.loss_mask[answer]],
            weight=0.0,
            advantages=torch.ones(len(places), dtype=torch.float64),
            rollout_logprobs=torch.zeros(len(places), dtype=torch.float64),
            place=place,
            media=self.media,
        )


def example_batches(
    examples: Sequence[Example], ranks: Ranks, sizes: BatchSizes, paces: Paces | None = None
) -> list[Batch]:
    """This rank's micro-batches of one step over the examples of all ranks, equally many on each rank.

    Every loss token of the step weighs the same: 1 / their number on all ranks.
    """
    sequences = [example.sequence(place) for place, example in enumerate(examples)]
    weigh(sequences, Aggregation.TOKEN_MEAN, sizes.max_new_tokens)
    speeds = paces.speeds(ranks.learners) if paces is not None else None
    mine = deal(sequences, sizes, ranks.learners, speeds)[ranks.learner]
    return [ready(micro_batch, sizes) for micro_batch in mine]


@dataclass(frozen=True)
class Likelihood:
    """Maximum likelihood of the loss tokens: minimise -log p, averaged over all of the step's loss tokens.

    aux_loss_coef: weight of the imbalance of the policy's routers, on the tokens that are computed for the loss.
    """

    aux_loss_coef: float = 0.0

    def loss(self, policy: PolicyOutput, batch: Batch) -> tuple[Tensor, Metrics]:
        """This batch's share of the step's loss, already divided by the whole step's tokens."""
        metrics, total = self.measure(policy, batch), -(batch.weights * policy.logprobs).sum()
        if policy.aux_loss is not None:
            total = total + self.aux_loss_coef * batch.share * policy.aux_loss
            metrics.weighted_mean("policy/aux_loss", policy.aux_loss, batch.share)
        return total, metrics

    def measure(self, policy: PolicyOutput, batch: Batch) -> Metrics:
        """What a policy says of a batch's loss tokens, in means over tokens.

        policy/nll: -log p in nats. policy/token_probability: p, the share of the tokens that it would draw itself.
        """
        metrics = Metrics()
        metrics.mean("policy/nll", -policy.logprobs)
        metrics.mean("policy/token_probability", policy.logprobs.detach().double().exp())
        metrics.mean("policy/entropy", policy.entropy)
        return metrics
