"""One training run on recorded rollouts, for every kind of holding and any number of ranks."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm

from lightrft_core import (
    ALGORITHMS,
    Batch,
    BatchSizes,
    FinishReason,
    Group,
    Metrics,
    OneRank,
    Prompt,
    Ranks,
    Rollout,
    StepReport,
    TrainingSequence,
    Verdict,
    collate,
)
from lightrft_core.experience import make_experience
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.training import FullyShard, Hold, OptimiserConfig, TorchRanks, TorchStrategy, Whole
from lightrft_strategy.training.full import full, full_tensors
from lightrft_strategy.training.zero import Zero

VOCABULARY = 61
CONFIG = OptimiserConfig(3e-3, 24, "cosine", warmup_ratio=0.1, weight_decay=0.1)
HOLDS: dict[str, Hold] = {
    "one": Whole,
    "ddp": Whole,
    "fsdp2": FullyShard(),
    "fsdp2 kept": FullyShard(reshard_after_forward=False),
    "fsdp2 offloaded": FullyShard(cpu_offload=True),
    **{f"zero {stage}": Zero(stage, persistence_threshold=0) for stage in (1, 2, 3)},
}
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
MOE = {
    "moe_intermediate_size": 24,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "head_dim": 8,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
FAMILIES: dict[str, dict[str, Any]] = {"Llama": {}, "Qwen2": {}, "Qwen3": {}, "Gemma": {}, "DeepseekV3": MOE}


@dataclass(frozen=True)
class Case:
    """What is trained, and how. optimiser_steps: at most so many of the recorded ones.

    packing, sharing: no padding is computed, and a prompt once for all its answers (LanguageActor).
    """

    hold: str = "one"
    dtype: str = "float64"
    bf16: bool = False
    micro_batch: int = 3
    algorithm: str = "grpo"
    family: str = "Llama"
    packing: bool = False
    sharing: bool = True
    optimiser_steps: int = 20


@dataclass(frozen=True)
class Outcome:
    """losses, norms: of each optimiser step, NaN where there was nothing to learn. weights: the policy's, whole."""

    losses: list[float]
    norms: list[float]
    weights: dict[str, numpy.ndarray]
    metrics: list[dict[str, float]]


def language_model(family: str = "Llama", *, seed: int = 0, **changes: Any) -> Any:
    """A tiny model with weights large enough to matter, in float32."""
    import transformers

    config = getattr(transformers, f"{family}Config")(**SMALL | FAMILIES[family] | changes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return transformers.AutoModelForCausalLM.from_config(config).eval()


class GemmaNorm(nn.Module):
    """Gemma's norm in the precision that it is given."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, hidden: Tensor) -> Tensor:
        return rms_norm(hidden, self.weight.shape, eps=self.eps) * (1 + self.weight)


class Router(nn.Module):
    """DeepSeek-V3's, of experts in one group, in the precision that it is given."""

    def __init__(self, router: Any) -> None:
        super().__init__()
        self.weight, self.top_k, self.scale = router.weight, router.top_k, router.routed_scaling_factor
        self.bias = nn.Buffer(router.e_score_correction_bias)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = linear(hidden.flatten(0, -2), self.weight)
        scores = logits.sigmoid()
        chosen = (scores + self.bias).topk(self.top_k).indices
        weights = scores.gather(1, chosen)
        return logits, weights / weights.sum(1, keepdim=True) * self.scale, chosen


def exactly(model: Any, dtype: torch.dtype) -> Any:
    """The model in a precision. In float64 also what Transformers computes in float32: norms, routers and experts."""
    if dtype == torch.float64:
        model.set_experts_implementation("eager")
        for owner in list(model.modules()):
            for name, norm in owner.named_children():
                if hasattr(norm, "variance_epsilon"):
                    exact = nn.RMSNorm(len(norm.weight), norm.variance_epsilon)
                    exact.weight = norm.weight
                    setattr(owner, name, exact)
                elif type(norm).__name__ in ("GemmaRMSNorm", "Gemma3RMSNorm"):
                    setattr(owner, name, GemmaNorm(norm))
                elif type(norm).__name__ == "DeepseekV3TopkRouter":
                    setattr(owner, name, Router(norm))
    return model.to(dtype)


def recorded(number: int) -> list[Group]:
    """Five judged groups of four answers, of unequal lengths; the third has no signal."""
    rng = random.Random(number)
    groups = []
    for row in range(5):
        prompt = tuple(rng.randrange(VOCABULARY) for _ in range(rng.randint(2, 9)))
        rewards = [1.0] * 4 if row == 2 else [1.0, 0.0, rng.random(), rng.random()]
        rollouts = []
        for sample, reward in enumerate(rewards):
            length = rng.choice([1, 2, 3, 5, 8])
            rollouts.append(
                Rollout(
                    sample,
                    [rng.randrange(VOCABULARY) for _ in range(length)],
                    [-rng.random() * 6 for _ in range(length)],
                    [True] * length,
                    FinishReason.STOP,
                    "",
                    Verdict(reward),
                    reward,
                )
            )
        groups.append(Group(Prompt(f"{number}.{row}", (), "", prompt), rollouts))
    return groups


def build(case: Case, ranks: Ranks | None = None) -> TorchStrategy:
    """The strategy of a case, on one process or on all."""
    ranks = ranks or (OneRank() if case.hold == "one" else TorchRanks())
    algorithm, dtype = ALGORITHMS[case.algorithm], getattr(torch, case.dtype)
    how = {"packing": case.packing, "sharing": case.sharing}
    models: dict[str, nn.Module] = {"policy": LanguageActor(exactly(language_model(case.family), dtype), **how)}
    optimisers = {"policy": CONFIG}
    if algorithm.kl_coef:
        models["reference"] = LanguageActor(exactly(language_model(case.family, seed=1), dtype), **how)
    if algorithm.estimator.critic:
        models["critic"] = LanguageCritic(language_model(case.family, seed=2), **how).to(dtype)
        optimisers["critic"] = replace(CONFIG, learning_rate=1e-2)
    return TorchStrategy(models, optimisers, bf16=case.bf16, hold=HOLDS[case.hold], ranks=ranks)


def train(case: Case) -> Outcome:
    """Optimiser steps of five rollouts each over the recorded groups."""
    strategy = build(case)
    outcome = advance(strategy, case, range(5))
    outcome.weights.update(weights(strategy))
    return outcome


def first_gradient(case: Case) -> dict[str, numpy.ndarray]:
    """The whole gradient of the run's first optimiser step, before clipping: from the moments after it."""
    strategy = build(case)
    (norm,) = advance(strategy, replace(case, optimiser_steps=1), range(1)).norms
    beta, bound = CONFIG.betas[0], CONFIG.max_norm
    state, prefix = strategy.held["policy"].state(), "adam.exp_avg."
    moments = {name.removeprefix(prefix): full(state[name]) for name in state if name.startswith(prefix)}
    return {name: moment.numpy() * (max(1.0, norm / bound) / (1 - beta)) for name, moment in moments.items()}


def plain_gradient(case: Case) -> dict[str, numpy.ndarray]:
    """What `first_gradient` gives, by autograd alone."""
    strategy, algorithm = build(case), ALGORITHMS[case.algorithm]
    steps, _ = make_experience(recorded(0), algorithm, strategy, sizes(case))
    module, loss = strategy.held["policy"].module, algorithm.losses()["policy"]
    total = torch.stack([loss(module(batch), batch)[0] for batch in steps[0]]).sum()
    weights = dict(module.named_parameters())
    gradients = torch.autograd.grad(total, [*weights.values()], materialize_grads=True)
    return {name: gradient.numpy() for name, gradient in zip(weights, gradients, strict=True)}


class Recipe(Protocol):
    """What a run does with recorded rollouts. optimiser_steps: at most so many of them."""

    @property
    def algorithm(self) -> str: ...
    @property
    def micro_batch(self) -> int: ...
    @property
    def packing(self) -> bool: ...
    @property
    def sharing(self) -> bool: ...
    @property
    def optimiser_steps(self) -> int: ...


def sizes(recipe: Recipe) -> BatchSizes:
    """Optimiser steps of five rollouts each."""
    return BatchSizes(5, recipe.micro_batch, 60, 8, shared_prompts=recipe.sharing, packing=recipe.packing)


def advance(strategy: TorchStrategy, recipe: Recipe, numbers: range) -> Outcome:
    """Optimiser steps of five rollouts each over these batches of recorded groups."""
    algorithm, outcome = ALGORITHMS[recipe.algorithm], Outcome([], [], {}, [])
    for number in numbers:
        steps, _ = make_experience(recorded(number), algorithm, strategy, sizes(recipe))
        for batches in steps:
            if len(outcome.losses) < recipe.optimiser_steps:
                step(strategy, batches, algorithm.losses(), outcome)
    return outcome


def step(strategy: TorchStrategy, batches: Sequence[Batch], losses: dict[str, Any], outcome: Outcome) -> None:
    """One optimiser step of every model."""
    for model, loss in losses.items():
        if batches:
            report = strategy.train_step(model, batches, loss)
            assert report.fault == ""
        else:
            strategy.skip_step(model)
            report = StepReport(float("nan"), float("nan"), 0.0, Metrics())
        if model == "policy":
            outcome.losses.append(report.loss)
            outcome.norms.append(report.grad_norm)
            outcome.metrics.append(strategy.reduce(report.metrics))


def weights(strategy: TorchStrategy, model: str = "policy") -> dict[str, numpy.ndarray]:
    """A model's weights, whole, in float32 or float64."""
    arrays = {}
    for name, tensor in full_tensors(strategy.held[model].module):
        arrays[name] = tensor.clone().to(torch.promote_types(tensor.dtype, torch.float32)).numpy()
    return arrays


def a_batch(seed: int, answers: int = 3, *, longest: int = 5) -> Batch:
    """One micro-batch of a prompt's answers, with advantages; its share of a step of 12 tokens."""
    rng, sequences = random.Random(seed), []
    prompt = tuple(rng.randrange(VOCABULARY) for _ in range(4))
    for _ in range(answers):
        answer = [rng.randrange(VOCABULARY) for _ in range(rng.randint(1, longest))]
        advantages = torch.tensor([rng.gauss(0, 1) for _ in answer])
        sequences.append(TrainingSequence(prompt, answer, [True] * len(answer), 1 / 12, advantages, -advantages.abs()))
    return collate(sequences)


Loss = Callable[[Any, Batch], tuple[Tensor, Metrics]]


def plain_loss(output: Any, batch: Batch) -> tuple[Tensor, Metrics]:
    """REINFORCE."""
    metrics = Metrics()
    metrics.mean("logprob", output.logprobs)
    return -(batch.weights * batch.advantages * output.logprobs).sum(), metrics
