"""Each aggregation is its paper's formula, and how a step is cut up - micro-batches, order, ranks - never shows.

Run as a script, this file is the ranks of its own test: test_aggregation.py FOLDER.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightrft_core import (
    ALGORITHMS,
    Aggregation,
    Algorithm,
    Batch,
    BatchSizes,
    Bounds,
    FinishReason,
    Group,
    PolicyOutput,
    Prompt,
    Rollout,
    Verdict,
    chosen_logprobs,
    collate,
)
from lightrft_core.plan import optimiser_steps, training_sequences

pytestmark = pytest.mark.usefixtures("one_thread")

VOCAB, DIM, BUDGET = 11, 4, 9
WHOLE = BatchSizes(None, 1000, 10**6, BUDGET)


class MarkovPolicy(nn.Module):
    """A policy in float64 whose next token depends on the last one alone."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.embedding = nn.Parameter(torch.randn(VOCAB, DIM, generator=generator, dtype=torch.float64))
        self.head = nn.Parameter(torch.randn(VOCAB, DIM, generator=generator, dtype=torch.float64))

    def forward(self, batch: Batch) -> PolicyOutput:
        before = torch.cat([batch.prompt_ids[batch.prompt_index, -1:], batch.response_ids[:, :-1]], 1)
        tokens = batch.response_ids[batch.loss_mask]
        return PolicyOutput(*chosen_logprobs(self.embedding[before[batch.loss_mask]], self.head, tokens))


def algorithm(mode: Aggregation) -> Algorithm:
    return replace(ALGORITHMS["grpo"], aggregation=mode, bounds=Bounds(0.2, 0.3), entropy_coef=0.1, kl_coef=0.0)


def judged_groups(seed: int, sizes: tuple[int, ...] = (3, 2, 4, 1)) -> list[Group]:
    """Groups of answers of 1 to BUDGET tokens, some of them not the policy's own, with advantages set."""
    rng = random.Random(seed)
    groups = []
    for number, n in enumerate(sizes):
        prompt = tuple(rng.randrange(VOCAB) for _ in range(rng.randint(1, 6)))
        rollouts = []
        for sample in range(n):
            ids = [rng.randrange(VOCAB) for _ in range(rng.randint(1, BUDGET))]
            mask = [True, *(rng.random() < 0.8 for _ in ids[1:])]
            logprobs = [rng.uniform(-4, -1) for _ in ids]
            advantage = rng.choice([0.0, rng.uniform(-2, 2)])
            rollouts.append(
                Rollout(sample, ids, logprobs, mask, FinishReason.STOP, "", Verdict(1.0), 1.0, advantage),
            )
        groups.append(Group(Prompt(f"row{number}", (), "", prompt), rollouts))
    return groups


def batches_of(
    groups: list[Group], chosen: Algorithm, sizes: BatchSizes = WHOLE, rank: int = 0, world_size: int = 1
) -> list[Batch]:
    """A rank's batches of the one step, with the advantages the rollouts have; old policy = the sampler."""
    pairs = training_sequences(groups, chosen.chosen)
    for rollout, sequence in pairs:
        sequence.advantages += rollout.advantage
        sequence.old_logprobs = sequence.rollout_logprobs
    sequences = [sequence for _, sequence in pairs]
    rollouts = sum(len(group.rollouts) for group in groups)
    (step,) = optimiser_steps(sequences, rollouts, chosen, sizes, world_size)
    return [collate(micro_batch) for micro_batch in step[rank]]


def share(policy: MarkovPolicy, batches: list[Batch], chosen: Algorithm) -> tuple[float, list[Tensor]]:
    """Loss and gradients added up over a step's micro-batches."""
    loss = 0.0
    policy.zero_grad()
    for batch in batches:
        value, _ = chosen.loss(policy(batch), batch)
        value.backward()
        loss += float(value.detach())
    return loss, [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in policy.parameters()]


def literal(policy: MarkovPolicy, groups: list[Group], mode: Aggregation) -> tuple[float, list[Tensor]]:
    """The papers' double sums, from materialised logits."""
    rollouts = [(group.prompt.token_ids, rollout) for group in groups for rollout in group.rollouts]
    lengths = [sum(rollout.loss_mask) for _, rollout in rollouts]
    n = len(rollouts)
    loss = torch.zeros((), dtype=torch.float64)
    for (prompt, rollout), length in zip(rollouts, lengths, strict=True):
        before, inner = prompt[-1], torch.zeros((), dtype=torch.float64)
        for token, own, old in zip(rollout.token_ids, rollout.loss_mask, rollout.logprobs, strict=True):
            if own:
                law = (policy.embedding[before] @ policy.head.T).log_softmax(-1)
                ratio = (law[token] - old).exp()
                surrogate = torch.min(ratio * rollout.advantage, ratio.clamp(0.8, 1.3) * rollout.advantage)
                inner = inner - surrogate + 0.1 * (law.exp() * law).sum()
            before = token
        match mode:
            case Aggregation.TOKEN_MEAN:
                loss = loss + inner / sum(lengths)
            case Aggregation.SEQ_MEAN_TOKEN_MEAN:
                loss = loss + inner / length / n
            case Aggregation.SEQ_MEAN_TOKEN_SUM:
                loss = loss + inner / n
            case Aggregation.CONSTANT_LENGTH:
                loss = loss + inner / (n * BUDGET)
    return float(loss.detach()), list(torch.autograd.grad(loss, list(policy.parameters())))


def assert_same(got: tuple[float, list[Tensor]], expected: tuple[float, list[Tensor]], tolerance: float) -> None:
    assert got[0] == pytest.approx(expected[0], rel=tolerance, abs=tolerance)
    for mine, reference in zip(got[1], expected[1], strict=True):
        torch.testing.assert_close(mine, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", Aggregation)
@pytest.mark.parametrize("seed", range(3))
def test_a_mode_is_the_double_sum_of_its_paper(mode: Aggregation, seed: int) -> None:
    policy, groups = MarkovPolicy(), judged_groups(seed)
    got = share(policy, batches_of(groups, algorithm(mode)), algorithm(mode))
    assert_same(got, literal(policy, groups, mode), 1e-6)


@pytest.mark.parametrize("mode", Aggregation)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 100),
    most=st.integers(1, 12),
    budget=st.integers(1, 80),
    order=st.randoms(use_true_random=False),
)
def test_how_a_step_is_cut_into_micro_batches_changes_neither_loss_nor_gradient(
    mode, seed, most, budget, order
) -> None:
    policy, groups = MarkovPolicy(), judged_groups(seed)
    expected = share(policy, batches_of(groups, algorithm(mode)), algorithm(mode))
    order.shuffle(groups)
    for group in groups:
        order.shuffle(group.rollouts)
    cut = batches_of(groups, algorithm(mode), BatchSizes(None, most, budget, BUDGET))
    assert len(cut) >= 10 / most
    assert_same(share(policy, cut, algorithm(mode)), expected, 1e-12)


def test_the_modes_differ_where_lengths_differ() -> None:
    policy, groups = MarkovPolicy(), judged_groups(0)
    losses = {share(policy, batches_of(groups, a), a)[0] for a in map(algorithm, Aggregation)}
    assert len(losses) == len(Aggregation)


WORLDS = (2, 3)
RANK_CASES = {"uneven shares": (3, 2, 4, 1, 2), "fewer groups than ranks": (3,)}


def one_rank(rank: int, world_size: int, folder: str) -> None:
    """Every case and mode on this rank's share of all groups; rank 0 writes the summed losses and gradients."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet_{world_size}", rank=rank, world_size=world_size)

    results = {}
    for name, sizes in RANK_CASES.items():
        for mode in Aggregation:
            cut = replace(WHOLE, micro_train_batch_size=2)
            mine = batches_of(judged_groups(1, sizes), algorithm(mode), cut, rank, world_size)
            loss, gradients = share(MarkovPolicy(), mine, algorithm(mode))
            total = torch.tensor(loss, dtype=torch.float64)
            for tensor in (total, *gradients):
                dist.all_reduce(tensor)
            results[f"{name}/{mode}"] = (total.item(), gradients)
    if rank == 0:
        torch.save(results, Path(folder, f"results_{world_size}.pt"))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def on_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what all ranks wrote: those of every number of ranks, forked from one process for all."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, str(folder)], env=environment, timeout=300, check=True)
    return folder


@pytest.mark.parametrize("world_size", WORLDS)
def test_any_number_of_ranks_computes_the_gradient_of_one_process(world_size: int, on_ranks: Path) -> None:
    results = torch.load(on_ranks / f"results_{world_size}.pt")
    assert len(results) == len(RANK_CASES) * len(Aggregation)
    for name, sizes in RANK_CASES.items():
        for mode in Aggregation:
            whole = batches_of(judged_groups(1, sizes), algorithm(mode))
            expected = share(MarkovPolicy(), whole, algorithm(mode))
            assert any(gradient.abs().max() > 1e-3 for gradient in expected[1])
            assert_same(results[f"{name}/{mode}"], expected, 1e-6)


def all_ranks(folder: str) -> None:
    """Ends with code 0 if every rank of every world did. None outlives this process."""
    context = multiprocessing.get_context("fork")
    given = [(rank, world_size, folder) for world_size in WORLDS for rank in range(world_size)]
    ranks = [context.Process(target=one_rank, args=each, daemon=True) for each in given]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(240)
    sys.exit(any(rank.exitcode != 0 for rank in ranks))


if __name__ == "__main__":
    all_ranks(sys.argv[1])
