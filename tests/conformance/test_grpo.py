"""GRPO on a real model against equation 3 of its paper (Shao et al. 2024, arXiv 2402.03300), in float64.

J = E 1/G sum_i 1/|o_i| sum_t { min[r A, clip(r, 1 - eps, 1 + eps) A] - beta D_KL }, with
r = pi / pi_old,  D_KL = pi_ref / pi - log(pi_ref / pi) - 1 (equation 4),  A = (R - mean(R)) / std(R).
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightrft_core import ALGORITHMS, Batch, BatchSizes, Group, OneRank, PolicyOutput, make_experience
from lightrft_strategy.language import LanguageActor

pytestmark = pytest.mark.usefixtures("one_thread")

EPSILON, BETA, G = 0.2, 0.04, 4
GRPO = ALGORITHMS["grpo"]


def questions(build_group) -> list[Group]:
    """Three questions of G answers of 1 to 9 tokens; the last one's rewards are all equal."""
    rng = random.Random(1)
    rewards = [[1.0, 0.0, 0.0, 0.0], [0.3, 0.9, 0.1, 0.3], [1.0, 1.0, 1.0, 1.0]]
    groups = []
    for row in rewards:
        prompt = [rng.randrange(300) for _ in range(rng.randint(2, 7))]
        answers = [[rng.randrange(300) for _ in range(rng.randint(1, 9))] for _ in row]
        group = build_group(prompt, answers, row)
        for rollout, reward in zip(group.rollouts, row, strict=True):
            rollout.reward = reward
        groups.append(group)
    return groups


class Scorers(OneRank):
    """The models that score a batch before it is learnt from, by name."""

    def __init__(self, **models: nn.Module) -> None:
        self.actors = {name: LanguageActor(model) for name, model in models.items()}

    def forward(self, model: str, batches: Sequence[Batch]) -> list[PolicyOutput]:
        with torch.no_grad():
            return [self.actors[model](batch) for batch in batches]


def double(model: nn.Module) -> nn.Module:
    copy = type(model)(model.config).double().eval()
    copy.load_state_dict(model.state_dict())
    return copy


def law_of_answer(model: nn.Module, group: Group, answer: list[int]) -> Tensor:
    """[answer, vocab] log-probabilities, from materialised logits of the sequence alone."""
    ids = torch.tensor([[*group.prompt.token_ids, *answer]])
    return model(input_ids=ids).logits[0, len(group.prompt.token_ids) - 1 : -1].log_softmax(-1)


def equation_3(policy: nn.Module, old: nn.Module, reference: nn.Module, groups: list[Group]) -> tuple[Tensor, float]:
    """The objective, and the share of tokens whose ratio left the trust region."""
    objective = torch.zeros((), dtype=torch.float64)
    outside = []
    for group in groups:
        rewards = [rollout.verdict.score for rollout in group.rollouts]
        for rollout, reward in zip(group.rollouts, rewards, strict=True):
            spread = statistics.stdev(rewards)
            advantage = (reward - statistics.fmean(rewards)) / (spread + 1e-6) if spread else 0.0
            law = law_of_answer(policy, group, rollout.token_ids)
            with torch.no_grad():
                old_law = law_of_answer(old, group, rollout.token_ids)
                reference_law = law_of_answer(reference, group, rollout.token_ids)
            answer = torch.zeros((), dtype=torch.float64)
            for t, token in enumerate(rollout.token_ids):
                ratio = (law[t, token] - old_law[t, token]).exp()
                clipped = ratio.clamp(1 - EPSILON, 1 + EPSILON)
                surrogate = torch.min(ratio * advantage, clipped * advantage)
                odds = (reference_law[t, token] - law[t, token]).exp()
                answer = answer + surrogate - BETA * (odds - odds.log() - 1)
                outside.append(float(ratio.detach() != clipped.detach()))
            objective = objective + answer / len(rollout.token_ids) / G / len(groups)
    return objective, statistics.fmean(outside)


@pytest.mark.parametrize("micro_batch", [1, 5, 100])
def test_the_loss_and_its_gradient_are_minus_equation_3(tiny_model, build_group, micro_batch: int) -> None:
    policy = tiny_model(0)
    old, reference = tiny_model(0), tiny_model(0)
    with torch.no_grad():
        for seed, model in enumerate((old, reference)):
            generator = torch.Generator().manual_seed(seed)
            for parameter in model.parameters():
                parameter += 0.01 * torch.randn(parameter.shape, generator=generator)

    groups = questions(build_group)
    sizes = BatchSizes(None, micro_batch, 10**6, 9, max_epochs=2)
    (batches,), _ = make_experience(groups, GRPO, Scorers(policy=old, reference=reference), sizes)
    actor, loss = LanguageActor(policy), 0.0
    for batch in batches:
        value, _ = GRPO.loss(actor(batch), batch)
        value.backward()
        loss += value.item()

    exact = double(policy)
    objective, outside = equation_3(exact, double(old), double(reference), groups)
    objective.backward()
    assert 0.1 < outside < 0.9, "both sides of the clip must be in the example"
    assert loss == pytest.approx(-objective.item(), rel=1e-4, abs=1e-5)
    whole = torch.stack([p.grad.norm() for p in exact.parameters()]).norm()
    for (name, mine), theirs in zip(policy.named_parameters(), exact.parameters(), strict=True):
        assert (mine.grad.double() + theirs.grad).norm() < 1e-3 * theirs.grad.norm() + 1e-5 * whole, name


def test_without_beta_the_reference_model_plays_no_part(tiny_model, build_group) -> None:
    groups, plain = questions(build_group), replace(GRPO, kl_coef=0.0)
    (batches,), _ = make_experience(groups, plain, Scorers(), BatchSizes(None, 100, 10**6, 9))
    actor = LanguageActor(tiny_model(0))
    for batch in batches:
        assert batch.reference_logprobs is None
        loss, metrics = plain.loss(actor(batch), batch)
        assert loss.isfinite()
        assert "policy/kl_reference" not in metrics.result()
    assert sum(len(batch.response_ids) for batch in batches) == 2 * G, "the question without signal is left out"
