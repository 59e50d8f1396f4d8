"""Runs whose layers several ranks hold in slices, which test_tensor_parallel.py compares with one process."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.distributed as dist
import transformers
from torch import Tensor

from lightrft_core import ALGORITHMS, OneRank, Ranks
from lightrft_strategy.checkpoints import newest_whole, write_checkpoint
from lightrft_strategy.language import LanguageActor, LanguageCritic, load_language_model
from lightrft_strategy.ring import Ring
from lightrft_strategy.sequence import SequenceGroup, sequence_group
from lightrft_strategy.training import FullyShard, Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole
from lightrft_strategy.training.full import full, local
from lightrft_strategy.training.mesh import rows
from lightrft_strategy.training.meta import empty_language_model, load_shards
from lightrft_strategy.training.scaling import LossScale
from lightrft_strategy.training.zero import Zero
from lightrft_strategy.ulysses import Ulysses

from .float16_runs import FITTING, able, infinite
from .layout_runs import Curve
from .recorded import SMALL, Outcome, a_batch, advance, exactly, plain_loss, weights

CONFIG = OptimiserConfig(3e-3, 24, "cosine", warmup_ratio=0.1, weight_decay=0.1)
SHAPE = SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 44}
Arrays = dict[str, numpy.ndarray]

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
    sharing: bool = True
    algorithm: str = "grpo"
    checkpointing: bool = False
    offload: bool = False
    micro_batch: int = 3
    optimiser_steps: int = 5
    zero: int = 0
    fp16: bool = False
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
    """In float16 with DeepSpeed too, which would refuse this processor."""
    ranks, group = together(case)
    algorithm = ALGORITHMS[case.algorithm]
    how = {"packing": case.packing, "sharing": case.sharing, "sequence_group": group}
    models = {"policy": LanguageActor(language_model(case), **how)}
    optimisers = {"policy": CONFIG}
    if algorithm.kl_coef:
        models["reference"] = LanguageActor(language_model(case, 1), **how)
    if algorithm.estimator.critic:
        models["critic"] = LanguageCritic(language_model(case, 2), **how).to(getattr(torch, case.dtype))
        optimisers["critic"] = replace(CONFIG, learning_rate=1e-2)
    with able() if case.fp16 and case.zero else nullcontext():
        ours = TorchStrategy(models, optimisers, bf16=case.bf16, fp16=case.fp16, hold=case.hold, ranks=ranks)
    ours.scales = {name: LossScale(FITTING) for name in ours.scales}
    return ours


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


def refusal(zero: int) -> str:
    """What is said where ranks with slices of a layer compute micro-batches of their own."""
    case = Case(2, dtype="float32", zero=zero)
    try:
        case.hold(language_model(case), CONFIG, None, TorchRanks())
    except ValueError as error:
        return str(error)
    return ""


def exported(case: Case) -> tuple[bool, bool, bool]:
    """(head and embeddings whole, slices of layers, all of it whole again in the export) before any step."""
    strategy, plain = build(case), language_model(case)
    model = strategy.held["policy"].module.model
    expected = dict(plain.named_parameters())
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    own = {name for name, shape in shapes.items() if shape != tuple(expected[name].shape)}
    found = weights(strategy)
    return (
        not any(name.startswith(("lm_head", "model.embed_tokens")) for name in own),
        own == {name for name in shapes if "_proj" in name},
        all(numpy.array_equal(found[f"model.{name}"], weight.detach().numpy()) for name, weight in expected.items()),
    )


def averaged(case: Case, folder: Path) -> tuple[Arrays, Arrays, bool]:
    """(the average after four steps; the weights within in_place; whether a resumed average has the same bits)."""

    def built(seed: int) -> TorchStrategy:
        models = {"policy": LanguageActor(language_model(case, seed))}
        return TorchStrategy(models, {"policy": CONFIG}, averages={"policy": 0.5}, hold=case.hold, ranks=ranks)

    def go(ours: TorchStrategy, steps: range) -> None:
        for number in steps:
            for report in [ours.train_step("policy", [a_batch(2 * number + part) for part in mine], plain_loss)]:
                assert not report.fault

    def average(ours: TorchStrategy) -> Arrays:
        return {name: whole(tensor) for name, tensor in ours.averages["policy"].state().items()}

    ranks = together(case)[0]
    mine = range(2)[ranks.learner :: ranks.learners]
    through, other = built(0), built(7)
    go(through, range(2))
    through.save(folder)
    other.load(folder)
    go(through, range(2, 4))
    go(other, range(2, 4))
    found, again = average(through), average(other)
    with through.averages["policy"].in_place():
        within = weights(through)
    return found, within, all(numpy.array_equal(found[name], again[name]) for name in found)


def overflowing(case: Case) -> dict[str, list[Any]]:
    """Four steps, in the second of which the gradient overflows."""
    ours = build(case)
    notes: dict[str, list[Any]] = {"scales": [], "overflowed": [], "faults": [], "moved": []}
    for number in range(4):
        before = weights(ours)
        batch = a_batch(10 * number + ours.ranks.learner)
        report = ours.train_step("policy", [batch], infinite if number == 1 else plain_loss)
        after = weights(ours)
        notes["scales"].append(int(report.loss_scale or 0))
        notes["overflowed"].append(report.overflowed)
        notes["faults"].append(report.fault)
        notes["moved"].append(any(not numpy.array_equal(before[name], after[name]) for name in before))
    return notes


def patience(seconds: float) -> list[float]:
    """How long the first rank waits in its row and in its column for a second that does not come."""
    mesh, waited = rows(2, timedelta(seconds=seconds)), []
    if dist.get_rank() == 0:
        start = time.monotonic()
        try:
            dist.all_reduce(torch.ones(1), group=mesh.get_group("tp"))
        except RuntimeError:
            waited.append(time.monotonic() - start)
    dist.barrier()
    return waited
