"""Runs of several processes with ZeRO, which test_zero.py compares: every rank calls each function."""

from __future__ import annotations

import random
from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, LlamaConfig

from lightrft_core import Batch, CriticOutput, Metrics, OneRank, PolicyOutput, Ranks, TrainingSequence, collate
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.training import Hold, OptimiserConfig, TorchRanks, TorchStrategy
from lightrft_strategy.training.full import full, full_tensors
from lightrft_strategy.training.zero import Zero

CONFIG = OptimiserConfig(3e-3, total_steps=20, schedule="cosine", warmup_ratio=0.1, weight_decay=0.1, max_norm=6.0)
STEADY = OptimiserConfig(3e-3, total_steps=20, weight_decay=0.1, max_norm=6.0)
BOUNDS = {1: [0, 8], 2: [0, 5, 8], 4: [0, 3, 5, 7, 8]}
"""Which of a step's eight sequences each rank has: some more than others."""

Arrays = dict[str, numpy.ndarray]


def language_model(seed: int = 0) -> Any:
    """Tied embeddings, and sizes that do not divide by the number of ranks."""
    config = LlamaConfig(
        hidden_size=30,
        intermediate_size=50,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        vocab_size=77,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()


def recorded(step: int) -> list[TrainingSequence]:
    """Eight answers to three prompts, one of a single token; their weights divide by the step's tokens."""
    rng = random.Random(step)
    sequences = []
    for count in (3, 3, 2):
        prompt = tuple(rng.randrange(77) for _ in range(rng.randint(1, 5)))
        for number in range(count):
            length = 1 if (count, number) == (2, 1) else rng.randint(2, 6)
            answer = [rng.randrange(77) for _ in range(length)]
            mask = [True, *(rng.random() < 0.8 for _ in range(length - 1))]
            advantages = torch.full((sum(mask),), rng.gauss(0, 1))
            sequences.append(TrainingSequence(prompt, answer, mask, 0.0, advantages, torch.zeros(sum(mask))))
    for sequence in sequences:
        sequence.weight = 1 / sum(len(s.advantages) for s in sequences)
    return sequences


def dealt(step: int, ranks: Ranks, size: int) -> list[Batch]:
    """This rank's micro-batches of so many sequences; as many as every other rank has, so some are empty."""
    bounds = BOUNDS[ranks.world_size]
    mine = recorded(step)[bounds[ranks.rank] : bounds[ranks.rank + 1]]
    count = max(-(-(end - start) // size) for start, end in pairwise(bounds))
    return [collate(mine[number * size :][:size]) for number in range(count)]


def objective(output: PolicyOutput, batch: Batch) -> tuple[Tensor, Metrics]:
    gain = batch.weights * (batch.advantages * output.logprobs + 0.05 * output.entropy)
    return -gain.sum(), Metrics()


def squared_error(output: CriticOutput, batch: Batch) -> tuple[Tensor, Metrics]:
    return (batch.weights * (output.values - batch.advantages).square()).sum(), Metrics()


def ranks() -> Ranks:
    """Those of the run, if this process is one of several."""
    return TorchRanks() if dist.is_initialized() else OneRank()


def strategy(hold: Hold, *, seed: int = 0, config: OptimiserConfig = CONFIG, bf16: bool = False) -> TorchStrategy:
    models = {"policy": LanguageActor(language_model(seed))}
    return TorchStrategy(models, {"policy": config}, bf16=bf16, hold=hold, ranks=ranks())


def train(ours: TorchStrategy, steps: range, size: int, loss: Any = objective) -> list[Any]:
    return [ours.train_step("policy", dealt(step, ours.ranks, size), loss) for step in steps]


def state(ours: TorchStrategy) -> dict[str, Tensor]:
    return {name: full(tensor).clone() for name, tensor in ours.held["policy"].state().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def weights(ours: TorchStrategy, model: str = "policy") -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in full_tensors(ours.held[model].module)}


def load(ours: TorchStrategy, kept: Mapping[str, Tensor], attempts: int) -> TorchStrategy:
    ours.held["policy"].load_state(kept)
    ours.attempts["policy"] = attempts
    return ours


def curve(hold: Hold, size: int, steps: int = 20, bf16: bool = False, scoring: bool = False) -> Arrays:
    """Loss and gradient norm of each step, and the state after all of them."""
    ours, reports = strategy(hold, bf16=bf16), []
    for step in range(steps):
        if scoring:
            ours.forward("policy", dealt(step, ours.ranks, size))
        reports += train(ours, range(step, step + 1), size)
    assert not any(report.fault for report in reports)
    return arrays(ours, reports)


def arrays(ours: TorchStrategy, reports: list[Any]) -> Arrays:
    curves = {key: numpy.array([getattr(report, key) for report in reports]) for key in ("loss", "grad_norm")}
    return curves | {name: tensor.numpy() for name, tensor in state(ours).items()}


def skipping(zero: Zero) -> dict[str, Any]:
    """Four steps with three bad ones among them, and four without."""
    ours, other = strategy(zero, config=STEADY), strategy(zero, config=STEADY)
    last = ours.rank == ours.world_size - 1

    def bad_gradient(output: PolicyOutput, batch: Batch) -> tuple[Tensor, Metrics]:
        value, metrics = objective(output, batch)
        return value + (output.logprobs * 0).sqrt().sum() if last else value, metrics

    def bad_loss(output: PolicyOutput, batch: Batch) -> tuple[Tensor, Metrics]:
        value, metrics = objective(output, batch)
        return value if last else value + float("inf"), metrics

    train(ours, range(2), 2)
    before = state(ours)
    reports, unchanged = [], []
    for loss in (bad_gradient, bad_loss, bad_gradient, bad_loss):
        reports += train(ours, range(5, 6), 2, loss)
        unchanged.append(same(before, state(ours)))
    train(ours, range(2, 4), 2)
    train(other, range(4), 2)
    faults = [report.fault for report in reports]
    return {"faults": faults, "unchanged": unchanged, "same": same(state(ours), state(other))}


def resuming(zero: Zero, bf16: bool = False) -> dict[str, bool]:
    """Four steps at one go, and two by one model whose state another goes on from."""
    through = strategy(zero, bf16=bf16)
    train(through, range(2), 2)
    kept = state(through)
    train(through, range(2, 4), 2)
    resumed = load(strategy(zero, seed=9, bf16=bf16), kept, 2)
    train(resumed, range(2, 4), 2)
    equal = same(state(through), state(resumed)) and same(weights(through), weights(resumed))
    return {"moved": not same(kept, state(through)), "same": equal}


def part(hold: Hold, steps: range, source: Path | None, target: Path, size: int = 2) -> Arrays:
    """Steps of a run that goes on from a checkpoint, if there is one, and leaves another."""
    ours = strategy(hold, seed=0 if source is None else 7)
    if source is not None:
        ours.load(source)
    reports = train(ours, steps, size)
    ours.save(target)
    return arrays(ours, reports)


def uneven_steps() -> str:
    """What load_state says to a state whose weights were not all stepped equally often."""
    ours = strategy(Zero(2))
    wrong = state(ours) | {"adam.step.model.model.norm.weight": torch.tensor(3.0)}
    try:
        ours.held["policy"].load_state(wrong)
    except ValueError as error:
        return str(error)
    return ""


def frozen() -> dict[str, Any]:
    """A reference in shards, beside the same module as it was."""
    plain = LanguageActor(language_model(3)).requires_grad_(False)
    ours = TorchStrategy({"reference": deepcopy(plain)}, {}, hold=Zero(3, persistence_threshold=0), ranks=ranks())
    held = ours.held["reference"]
    left = sum(parameter.numel() for parameter in held.module.parameters())
    batches = dealt(ours.rank, ours.ranks, 2)

    def logits(actor: nn.Module) -> Tensor:
        hidden = actor.model.base_model(input_ids=torch.arange(7)[None]).last_hidden_state
        return linear(hidden, actor.model.get_output_embeddings().weight)

    with torch.no_grad():
        outputs, expected = ours.forward("reference", batches), [plain(batch) for batch in batches]
        return {
            "left": left,
            "type": {type(output).__name__ for output in outputs},
            "outputs": all(torch.equal(a.logprobs, b.logprobs) for a, b in zip(outputs, expected, strict=True)),
            "weights": same(weights(ours, "reference"), dict(full_tensors(plain))),
            "gathered": torch.equal(held.gathered(lambda: logits(held.module)), logits(plain)),
        }


def critic(hold: Hold) -> Arrays:
    """A critic's value head, whose weights are read and not called."""
    model = LanguageCritic(language_model())
    with torch.no_grad():
        model.value_head.weight.copy_(torch.linspace(-1, 1, 30))
    ours = TorchStrategy({"policy": model}, {"policy": CONFIG}, hold=hold, ranks=ranks())
    return arrays(ours, train(ours, range(4), 2, squared_error))
