"""A whole copy of a policy that ranks hold in shards, for engines to sample from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lightrft_core import Engine, Group, Metrics, Prompt, SamplingParams
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training.full import full_tensors
from lightrft_strategy.training.held import Held


class Replica:
    """actor: like the policy, but whole, in the precision the policy is computed in.

    Costs the memory of its weights, on every rank.
    """

    def __init__(self, actor: LanguageActor, policy: Held) -> None:
        self.actor, self.policy = actor.requires_grad_(False), policy
        self.model = actor.model

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the policy's weights as they now stand. Every rank calls it."""
        own = self.actor.state_dict()
        for name, tensor in full_tensors(self.policy.module, self.policy.dtype):
            own[name].copy_(tensor)


class Replicated:
    """An engine that samples from a replica, which is refreshed before each hand-over."""

    def __init__(self, engine: Engine, replica: Replica) -> None:
        self.engine, self.replica = engine, replica

    def load_weights(self, version: int) -> Metrics:
        """Bring the replica up to date, then what the engine itself does."""
        self.replica.refresh()
        return self.engine.load_weights(version)

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        """As the engine does."""
        return self.engine.generate(prompts, sampling, step=step)
