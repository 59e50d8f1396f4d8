"""From a configuration to the parts of a run: its prompts, its models on the ranks, how they learn and sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from lightrft_apps.config import (
    ConfigError,
    DataArgs,
    LearningArgs,
    LearningConfig,
    RLConfig,
    SamplingArgs,
    stop_texts,
)
from lightrft_apps.models import loading
from lightrft_apps.models.adaptation import adapt, freeze_named
from lightrft_apps.models.parallel import hold_of, row_group_of
from lightrft_apps.models.precision import compute_dtype
from lightrft_apps.models.senses import Senses
from lightrft_core import Algorithm, BatchSizes, Cost, FirstToken, Prompt, Ranks, SamplingParams, Schedule
from lightrft_strategy.data import PromptSpec
from lightrft_strategy.devices import device
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.lora import AdapterOff, sharing
from lightrft_strategy.training import TorchStrategy
from lightrft_strategy.training.compiling import compile_layers
from lightrft_strategy.training.filling import fill
from lightrft_strategy.training.held import Held
from lightrft_strategy.training.meta import materialise
from lightrft_strategy.training.optimiser import OptimiserConfig, set_precision
from lightrft_strategy.training.replica import Replica

M = TypeVar("M", bound=nn.Module)


def prompt_spec(data: DataArgs) -> PromptSpec:
    """Where the run's prompts come from."""
    return PromptSpec(**vars(data))


def eval_spec(config: RLConfig) -> PromptSpec | None:
    """Where held-out prompts come from; written as the training prompts are."""
    evaluation = config.evaluation
    if evaluation.eval_dataset is None:
        return None
    return replace(
        prompt_spec(config.data),
        prompt_data=evaluation.eval_dataset,
        prompt_data_probs=None,
        prompt_split=evaluation.eval_split,
        max_samples=evaluation.eval_max_samples,
    )


def held_out(sources: Sequence[Sequence[Prompt]]) -> list[Prompt]:
    """Prompts named so that their randomness is not that of a training row of the same name."""
    return [replace(prompt, uid=f"eval/{prompt.uid}") for source in sources for prompt in source]


def build_strategy(
    config: RLConfig,
    algorithm: Algorithm,
    model: Any,
    senses: Senses,
    ranks: Ranks,
    *,
    steps_per_batch: int,
    batches: int,
    say: Callable[[str], None] = lambda line: None,
) -> TorchStrategy:
    """The policy with its optimiser, and whom else the algorithm asks: reference, teacher, critic with its own.

    With --lora_rank, policy and critic learn adapters, and the reference is the policy's own model without its adapter.
    steps_per_batch: optimiser steps on each of so many batches of rollouts. say: as load_to_hold tells it of each model
    of another flag than --pretrain. Raises ConfigError if a model cannot be loaded or does not fit the policy's tokens.
    """
    temperature, wanted = config.rollout.temperature, algorithm.models(off_policy=False)
    adapt(model, config)
    freeze_named(model, config)
    rows: dict[str, Any] = {
        "reader": senses.reader(config.parallel),
        "packing": config.train.packing_samples,
        "sharing": shares_prompts(config),
        "sequence_group": row_group_of(config.parallel, ranks),
    }

    def actor(model: Any, *, balance: bool = False) -> LanguageActor:
        with packable(config.model.pretrain):
            return LanguageActor(model, temperature, balance=balance, **rows)

    models: dict[str, nn.Module] = {"policy": actor(model, balance=config.train.aux_loss_coef > 0)}
    if "reference" in wanted and config.lora.lora_rank:
        models["reference"] = AdapterOff(models["policy"])
    elif "reference" in wanted:
        models["reference"] = actor(loading.load_to_hold(config))
    if "teacher" in wanted:
        models["teacher"] = actor(_load_beside(config, "teacher_pretrain", config.divergence.teacher_pretrain, say))
    frozen = config.critic.freezing_actor_steps
    if frozen >= batches:
        raise ConfigError([f"--freezing_actor_steps {frozen}: the run has {batches} steps, so the policy never learns"])
    train = config.train
    rate, learning = train.actor_learning_rate, (batches - frozen) * steps_per_batch
    factors = senses.factors(rate, train.vision_learning_rate)
    optimisers = {"policy": optimiser_of(train, rate, learning, factors)}
    if "critic" in wanted:
        critic = _load_beside(config, "critic_pretrain", config.critic.critic_pretrain, say)
        adapt(critic, config)
        with packable(config.critic.critic_pretrain or config.model.pretrain):
            models["critic"] = LanguageCritic(critic, **rows)
        optimisers["critic"] = optimiser_of(train, config.critic.critic_learning_rate, batches * steps_per_batch)
    for module in models.values():
        if config.train.compile and not isinstance(module, AdapterOff):
            compile_layers(module)
    return held(config, models, optimisers, ranks)


def held(
    config: LearningConfig,
    models: Mapping[str, nn.Module],
    optimisers: Mapping[str, OptimiserConfig],
    ranks: Ranks,
    averaged: str = "policy",
) -> TorchStrategy:
    """Models on the ranks, in the run's precision and layout, with their weights. averaged: what --enable_ema is of.

    Raises ConfigError if a model that came without weights cannot be computed as the flags say.
    """
    train = config.train
    empty = [name for name, module in models.items() if any(weight.is_meta for weight in module.parameters())]
    strategy = TorchStrategy(
        models,
        optimisers,
        bf16=config.model.bf16,
        fp16=config.model.fp16,
        averages={averaged: train.ema_beta} if train.enable_ema else {},
        hold=sharing(hold_of(config.parallel)),
        ranks=ranks,
        timed=config.parallel.zero_stage != 3,
    )
    for name in empty:
        with packable(config.model.pretrain):
            fill(strategy.held[name])
    return strategy


def batch_sizes(config: RLConfig, cost: Cost) -> BatchSizes:
    """How batches are cut, and dealt by what the model's passes cost."""
    train = config.train
    return BatchSizes(
        train.train_batch_size,
        train.micro_train_batch_size,
        train.max_tokens_per_micro_batch,
        config.rollout.generate_max_len,
        train.max_epochs,
        shared_prompts=shares_prompts(config),
        packing=train.packing_samples,
        cost=cost,
    )


def schedule(config: RLConfig) -> Schedule:
    """When what happens besides learning."""
    return Schedule(
        freezing_actor_steps=config.critic.freezing_actor_steps,
        max_skipped_steps=config.train.max_skipped_steps,
        save_steps=max(0, config.run.save_steps),
        eval_steps=max(0, config.evaluation.eval_steps),
    )


def shares_prompts(config: RLConfig) -> bool:
    """Whether a prompt is computed once for all its answers: padded rows then hand keys on, which is not compiled."""
    return config.train.packing_samples or not (config.model.gradient_checkpointing or config.train.compile)


@contextmanager
def packable(pretrain: str) -> Iterator[None]:
    """Raise ConfigError, naming the model, where it cannot be scored from hidden states or computed as packed rows."""
    try:
        yield
    except ValueError as error:
        raise ConfigError([f"--pretrain {pretrain}: {error}"]) from error


def build_replica(config: LearningConfig, senses: Senses, strategy: TorchStrategy) -> Replica[LanguageActor] | None:
    """A whole copy of the policy to sample from where its weights lie in shards; None where they are whole."""

    def whole() -> LanguageActor:
        model = loading.load_empty(config, config.model)
        adapt(model, config)
        return LanguageActor(model, reader=senses.reader(config.parallel))

    return replica_of(config, whole, strategy.held["policy"])


def replica_of(config: LearningConfig, whole: Callable[[], M], sharded: Held) -> Replica[M] | None:
    """A whole copy of a model whose weights ranks hold in parts; None where they do not. Every rank calls it.

    whole: makes one like it, of other numbers, in host memory or without any. Only what is computed in, and never
    float32 beside it, takes memory of the device.
    """
    args = config.parallel
    if not (args.fsdp or args.zero_stage == 3 or args.tp_size > 1):
        return None
    copy = whole()
    set_precision(copy, compute_dtype(config.model))
    materialise(copy, device())
    replica = Replica(copy.to(device()), sharded)
    replica.refresh()
    return replica


def _load_beside(config: RLConfig, flag: str, pretrain: str | None, say: Callable[[str], None]) -> Any:
    """A model that reads the policy's tokens, in float32: the policy's own if no other is named.

    say: see load_to_hold. Raises ConfigError if its tokens are others.
    """
    if pretrain is None:
        return loading.load_to_hold(config)
    args = replace(config.model, pretrain=pretrain)
    if loading.load_tokenizer(args).get_vocab() != loading.load_tokenizer(config.model).get_vocab():
        problem = f"its tokenizer is not that of {config.model.pretrain}; take a model of the same family"
        raise ConfigError([f"--{flag} {pretrain}: {problem}"])
    return loading.load_to_hold(config, args, flag=flag, say=say)


def optimiser_of(
    train: LearningArgs, learning_rate: float, total_steps: int, factors: Mapping[str, float] | None = None
) -> OptimiserConfig:
    """What steps a model, over so many steps. factors: of the learning rate, by how weights' names begin."""
    return OptimiserConfig(
        learning_rate=learning_rate,
        total_steps=total_steps,
        schedule=train.lr_scheduler,
        warmup_ratio=train.lr_warmup_ratio,
        betas=train.adam_betas,
        eps=train.adam_eps,
        weight_decay=train.l2,
        max_norm=train.max_norm,
        factors=factors or {},
    )


def train_sampling(config: RLConfig) -> SamplingParams:
    """The law of training rollouts."""
    rollout = config.rollout
    hot: dict[str, Any] = {"temperature": rollout.first_token_temperature, "top_k": rollout.first_token_top_k}
    fire = FirstToken(**{name: value for name, value in hot.items() if value is not None}) if rollout.use_fire else None
    return replace(law_of(rollout), n=rollout.n_samples_per_prompt, first_token=fire)


def eval_sampling(config: RLConfig) -> SamplingParams:
    """The law of evaluation answers: all tokens at eval_temperature; they end as those of training do."""
    args = config.evaluation
    return replace(
        law_of(config.rollout),
        temperature=args.eval_temperature,
        top_p=1.0,
        top_k=0,
        max_new_tokens=args.eval_generate_max_len or config.rollout.generate_max_len,
        n=args.eval_n_samples_per_prompt,
    )


def law_of(args: SamplingArgs) -> SamplingParams:
    """The law of one answer."""
    return SamplingParams(
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        max_new_tokens=args.generate_max_len,
        min_new_tokens=args.generate_min_len,
        stop=stop_texts(args.stop),
        stop_token_ids=args.stop_token_ids or (),
        logit_bias={int(token): bias for token, bias in (args.logit_bias or {}).items()},
    )


def most_media(sources: Sequence[Sequence[Prompt]]) -> dict[str, int]:
    """By modality, the most media of any prompt."""
    most: dict[str, int] = {}
    for prompt in (prompt for prompts in sources for prompt in prompts):
        for modality, count in Counter(medium.modality for medium in prompt.media).items():
            most[modality] = max(most.get(modality, 0), count)
    return most


def longest_sequence(sources: Sequence[Sequence[Prompt]], *budgets: int) -> int:
    """Tokens of the longest prompt with the longest answer it may get."""
    return max((len(prompt.token_ids) for prompts in sources for prompt in prompts), default=0) + max(budgets)
