"""Runs whose layers several ranks hold in slices, which test_tensor_parallel.py compares with one process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from torch import Tensor

from lightrft_core import ALGORITHMS, BatchSizes, OneRank, Ranks
from lightrft_core.experience import make_experience
from lightrft_strategy.checkpoints import newest_whole, write_checkpoint
from lightrft_strategy.language import LanguageActor, LanguageCritic, load_language_model
from lightrft_strategy.ring import Ring
from lightrft_strategy.sequence import SequenceGroup, sequence_group
from lightrft_strategy.training import FullyShard, Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole
from lightrft_strategy.training.full import full, local
from lightrft_strategy.training.meta import empty_language_model, load_shards
from lightrft_strategy.training.zero import Zero
from lightrft_strategy.ulysses import Ulysses

from .layout_runs import Curve
from .recorded import SMALL, Outcome, a_batch, exactly, plain_loss, recorded, step, weights

CONFIG = OptimiserConfig(3e-3, 24, "cosine", warmup_ratio=0.1, weight_decay=0.1)
SHAPE = SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 44}
MINUTE = timedelta(minutes=1)

_made: dict[tuple[int, int, bool], SequenceGroup | None] = {}


@dataclass(frozen=True)
class Case:
    """tp_size, sp_size: ranks a layer and ranks a row; 0: one process without a group. zero: its stage; 0: FSDP2.

    ring: rows are cut as by --ring_attn_size, not as by --sp_size.
    """

    tp_size: int = 0
    sp_size: int = 1
    ring: bool = False
    dtype: str = "float64"
    bf16: bool = False
    packing: bool = True
    algorithm: str = "grpo"
    checkpointing: bool = False
    offload: bool = False
    micro_batch: int = 3
    optimiser_steps: int = 5
    zero: int = 0
    family: str = "Llama"
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def alone(self) -> Case:
        return replace(self, tp_size=0, sp_size=1, ring=False, offload=False, zero=0)

    @property
    def hold(self) -> Hold:
        """How it lies on the ranks."""
        if self.tp_size == 0:
            return Whole
        if self.zero:
            return Zero(self.zero, self.offload, tp_size=self.tp_size, timeout=MINUTE)
        return FullyShard(cpu_offload=self.offload, tp_size=self.tp_size, timeout=MINUTE)


def language_model(case: Case, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = getattr(transformers, f"{case.family}Config")(**SHAPE | dict(case.changes))
        made = transformers.AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("bias") or "norm" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    made = exactly(made, getattr(torch, case.dtype))
    if case.checkpointing:
        made.gradient_checkpointing_enable()
        made.train()
    return made


def together(case: Case) -> tuple[Ranks, SequenceGroup | None]:
    """The ranks of a run and those that compute rows with this one; each kind of group is made once."""
    if case.tp_size == 0:
        return OneRank(), None
    ranks, key = TorchRanks(case.tp_size * case.sp_size), (case.tp_size, case.sp_size, case.ring)
    if key not in _made:
        _made[key] = sequence_group(Ring if case.ring else Ulysses, ranks, MINUTE, case.tp_size)
    return ranks, _made[key]


def build(case: Case) -> TorchStrategy:
    ranks, group = together(case)
    algorithm, how = ALGORITHMS[case.algorithm], {"packing": case.packing, "sequence_group": group}
    models = {"policy": LanguageActor(language_model(case), **how)}
    optimisers = {"policy": CONFIG}
    if algorithm.kl_coef:
        models["reference"] = LanguageActor(language_model(case, 1), **how)
    if algorithm.estimator.critic:
        models["critic"] = LanguageCritic(language_model(case, 2), **how).to(getattr(torch, case.dtype))
        optimisers["critic"] = replace(CONFIG, learning_rate=1e-2)
    return TorchStrategy(models, optimisers, bf16=case.bf16, hold=case.hold, ranks=ranks)


def advance(strategy: TorchStrategy, case: Case, numbers: range) -> Outcome:
    """Optimiser steps of five rollouts each over these batches of recorded groups."""
    algorithm, outcome = ALGORITHMS[case.algorithm], Outcome([], [], {}, [])
    for number in numbers:
        steps, _ = make_experience(recorded(number), algorithm, strategy, BatchSizes(5, case.micro_batch, 60, 8))
        for batches in steps:
            if len(outcome.losses) < case.optimiser_steps:
                step(strategy, batches, algorithm.losses(), outcome)
    return outcome


def train(case: Case) -> Outcome:
    """weights: as a model is exported; and by the names of a checkpoint what AdamW remembers of gradients."""
    strategy = build(case)
    outcome = advance(strategy, case, range(5))
    outcome.weights.update(weights(strategy))
    state = strategy.held["policy"].state()
    outcome.weights.update({name: whole(state[name]) for name in state if name.startswith("adam.exp_avg.")})
    return outcome


def whole(tensor: Tensor) -> numpy.ndarray:
    return full(tensor).detach().clone().numpy()


def saved(case: Case, stop: int, checkpoints: Path) -> None:
    """The run over its first batches, and a checkpoint."""
    strategy = build(case)
    advance(strategy, case, range(stop))
    write_checkpoint(checkpoints, stop, strategy.save, keep=1, ranks=strategy.ranks)


def resumed(case: Case, numbers: range, checkpoints: Path | None) -> Curve:
    """The run over these batches, from its beginning or from the newest checkpoint."""
    strategy = build(case)
    if checkpoints is not None:
        newest, faults = newest_whole(checkpoints, checksums=True, ranks=strategy.ranks)
        assert newest is not None
        assert faults == []
        strategy.load(newest)
    outcome = advance(strategy, case, numbers)
    state = {name: whole(tensor) for name, tensor in strategy.held["policy"].state().items()}
    return Curve(outcome.losses, outcome.norms, state)


def shares(case: Case) -> tuple[float, float]:
    """This rank's share of the matrices within layers, and of those outside."""
    masters = {name: tensor for name, tensor in build(case).held["policy"].state().items() if tensor.ndim > 1}
    found = []
    for inside in (True, False):
        tensors = [tensor for name, tensor in masters.items() if (".layers." in name) == inside]
        found.append(sum(local(tensor).numel() for tensor in tensors) / sum(tensor.numel() for tensor in tensors))
    return found[0], found[1]


def filled(case: Case, folder: Path, meta: bool) -> dict[str, numpy.ndarray]:
    """The weights of a model in a folder, which ranks load whole, or each its own part of, after an optimiser step."""
    model = empty_language_model(folder) if meta else load_language_model(folder)
    ranks = together(case)[0]
    strategy = TorchStrategy({"policy": LanguageActor(model)}, {"policy": CONFIG}, hold=case.hold, ranks=ranks)
    if meta:
        load_shards(model, folder)
    strategy.train_step("policy", [a_batch(ranks.learner)], plain_loss)
    return weights(strategy)


def refusal() -> str:
    """What is said where ranks with slices of a layer compute micro-batches of their own."""
    try:
        FullyShard(tp_size=2)(language_model(Case()), CONFIG, None, TorchRanks())
    except ValueError as error:
        return str(error)
    return ""
