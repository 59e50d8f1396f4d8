"""Runs whose packed rows several ranks compute together, which test_sequence_parallel.py compares with one process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.distributed as dist
import transformers
from torch import Tensor

from lightrft_core import (
    ALGORITHMS,
    Batch,
    Metrics,
    OneRank,
    PolicyOutput,
    Ranks,
    TrainingSequence,
    collate,
)
from lightrft_strategy.checkpoints import newest_whole, write_checkpoint
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.lora import AdapterOff, add_adapter, sharing
from lightrft_strategy.ring import Ring
from lightrft_strategy.sequence import SequenceGroup, sequence_group
from lightrft_strategy.training import Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole
from lightrft_strategy.ulysses import Ulysses

from .recorded import FAMILIES, SMALL, VOCABULARY, Outcome, advance, exactly, weights

CONFIG = OptimiserConfig(3e-3, 24, "cosine", warmup_ratio=0.1, weight_decay=0.1)
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}

Lengths = tuple[tuple[int, tuple[int, ...]], ...]
"""(tokens of a prompt, tokens of its answers) of a batch."""

_made: dict[tuple[int, bool], SequenceGroup | None] = {}


@dataclass(frozen=True)
class Case:
    """sp_size: ranks a row; 0: one process without a group. ring: as --ring_attn_size, not as --sp_size.

    adapter: what learns is one, and the reference has none.
    """

    sp_size: int = 0
    ring: bool = False
    dtype: str = "float64"
    algorithm: str = "grpo"
    checkpointing: bool = False
    adapter: bool = False
    packing: bool = True
    sharing: bool = True
    micro_batch: int = 3
    optimiser_steps: int = 6
    family: str = "Llama"
    changes: tuple[tuple[str, Any], ...] = tuple(HEADS.items())

    @property
    def alone(self) -> Case:
        return replace(self, sp_size=0, ring=False)


def together(sp_size: int, ring: bool = False) -> tuple[Ranks, SequenceGroup | None]:
    """The ranks of a run and those that compute rows with this one; each kind of group is made once."""
    if sp_size == 0:
        return OneRank(), None
    ranks = TorchRanks(sp_size)
    if (sp_size, ring) not in _made:
        _made[sp_size, ring] = sequence_group(Ring if ring else Ulysses, ranks, timedelta(seconds=60))
    return ranks, _made[sp_size, ring]


def language_model(case: Case, seed: int = 0) -> Any:
    settings = SMALL | FAMILIES.get(case.family, {}) | dict(case.changes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = getattr(transformers, f"{case.family}Config")(**settings)
        return transformers.AutoModelForCausalLM.from_config(config).eval()


def model(case: Case, seed: int = 0) -> Any:
    made = exactly(language_model(case, seed), getattr(torch, case.dtype))
    if case.checkpointing:
        made.gradient_checkpointing_enable()
        made.train()
    return made


def build(case: Case, hold: Hold = Whole) -> TorchStrategy:
    ranks, group = together(case.sp_size, case.ring)
    algorithm = ALGORITHMS[case.algorithm]
    how = {"packing": case.packing, "sharing": case.sharing, "sequence_group": group}
    policy = model(case)
    if case.adapter:
        add_adapter(policy, rank=3, alpha=6, seed=4)
    actor = LanguageActor(policy, **how)
    models, optimisers = {"policy": actor}, {"policy": CONFIG}
    if algorithm.kl_coef:
        models["reference"] = AdapterOff(actor) if case.adapter else LanguageActor(model(case, 1), **how)
    if algorithm.estimator.critic:
        models["critic"] = LanguageCritic(model(case, 2), **how).to(getattr(torch, case.dtype))
        optimisers["critic"] = replace(CONFIG, learning_rate=1e-2)
    return TorchStrategy(models, optimisers, hold=sharing(hold), ranks=ranks)


def train(case: Case, hold: Hold = Whole) -> Outcome:
    """Optimiser steps of five rollouts each over the recorded groups."""
    strategy = build(case, hold)
    outcome = advance(strategy, case, range(5))
    outcome.weights.update(weights(strategy))
    return outcome


def begun(case: Case, hold: Hold, stop: int, checkpoints: Path) -> None:
    """The run over its first batches, and a checkpoint."""
    strategy = build(case, hold)
    advance(strategy, case, range(stop))
    write_checkpoint(checkpoints, stop, strategy.save, keep=1, ranks=strategy.ranks)


def gone_on(case: Case, hold: Hold, stop: int, checkpoints: Path) -> Outcome:
    """The rest of the run from that checkpoint."""
    strategy = build(case, hold)
    newest, faults = newest_whole(checkpoints, checksums=True, ranks=strategy.ranks)
    assert newest is not None and faults == []
    strategy.load(newest)
    outcome = advance(strategy, case, range(stop, 5))
    outcome.weights.update(weights(strategy))
    return outcome


def a_batch(lengths: Lengths) -> Batch:
    """Answers of these lengths, some of whose tokens carry no loss, in the middle and at the end."""
    generator, sequences = torch.Generator().manual_seed(7), []

    def ids(count: int) -> list[int]:
        return torch.randint(VOCABULARY, (count,), generator=generator).tolist()

    for prompt_length, answers in lengths:
        prompt = tuple(ids(prompt_length))
        for length in answers:
            mask = [place % 5 != 3 for place in range(length)]
            advantages = torch.randn(sum(mask), generator=generator)
            sequences.append(TrainingSequence(prompt, ids(length), mask, 0.1, advantages, -advantages.abs()))
    return collate(sequences)


def objective(output: PolicyOutput, batch: Batch) -> tuple[Tensor, Metrics]:
    """Depends on both of what a policy says of a token."""
    metrics = Metrics()
    metrics.mean("logprob", output.logprobs)
    gain = batch.advantages.double() * output.logprobs.double() - 0.3 * output.entropy.double().square()
    return -(batch.weights * gain).sum(), metrics


@dataclass(frozen=True)
class Said:
    """gradient: of all ranks, one learner's share. counted: numbers in one learner's metrics. computed: tokens here."""

    logprobs: numpy.ndarray
    entropy: numpy.ndarray
    gradient: dict[str, numpy.ndarray]
    counted: float
    computed: int


def passes(case: Case, lengths: Lengths) -> Said:
    """What comes of a batch; every learner has the same."""
    ranks, group = together(case.sp_size, case.ring)
    actor = LanguageActor(model(case), packing=True, sequence_group=group)
    strategy = TorchStrategy({"policy": actor}, {"policy": CONFIG}, ranks=ranks)
    batch, found, computed = a_batch(lengths), {}, []
    embedding = actor.model.get_input_embeddings()
    embedding.register_forward_hook(lambda _, inputs, __: computed.append(inputs[0].numel()))
    with torch.no_grad():
        plain = actor(batch)
    output = actor(batch)
    assert torch.equal(output.logprobs, plain.logprobs) and torch.equal(output.entropy, plain.entropy)
    loss, _ = objective(output, batch)
    loss.backward()
    for name, parameter in actor.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if ranks.world_size > 1:
            dist.all_reduce(gradient)
        found[name] = gradient.numpy() / ranks.learners
        parameter.grad = None
    report = strategy.train_step("policy", [batch, batch], objective)
    counts = ranks.gather([report.metrics.sums.get("logprob", (0.0, 0.0))[1]])
    scores = (output.logprobs.detach().numpy(), output.entropy.detach().numpy())
    return Said(*scores, found, sum(counts) / ranks.learners, computed[0])


def refusal(case: Case) -> str:
    """What is said of a model that so many ranks cannot compute together, before anything is trained."""
    _, group = together(case.sp_size, case.ring)
    try:
        LanguageActor(language_model(case), packing=True, sequence_group=group)
    except ValueError as error:
        return str(error)
    return ""
