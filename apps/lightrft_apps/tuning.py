"""Supervised fine-tuning as `tune(config)`: what `lightrft sft` does once its flags are read."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from lightrft_apps import compose
from lightrft_apps.adaptation import adapt, freeze_named
from lightrft_apps.averaging import export_average
from lightrft_apps.config import SFTConfig, require_valid_sft
from lightrft_apps.hugging_face import write_model
from lightrft_apps.parallel import Together, by_the_first
from lightrft_apps.profiling import build_profiler
from lightrft_apps.progress import Progress
from lightrft_apps.recorder import RunRecorder
from lightrft_apps.run_directory import RunDirectory
from lightrft_apps.run_examples import read_examples
from lightrft_apps.running import bytes_for_checkpoints, in_its_directory, rewound
from lightrft_apps.senses import Senses
from lightrft_apps.tuning_summary import show_summary, write_summary
from lightrft_core import BatchSizes, Cost, Likelihood, Paces, Ranks, Schedule, TrainState, example_batches
from lightrft_strategy.checkpoints import write_folder
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.placement import Placement
from lightrft_strategy.sft import SupervisedTrainer
from lightrft_strategy.training import TorchStrategy
from lightrft_strategy.training.compiling import compile_layers
from lightrft_strategy.training.cost import cost_of
from lightrft_strategy.ulysses import sequence_group


def tune(config: SFTConfig) -> dict[str, Any]:
    """Fine-tune, or go on, in config.run.output_dir. Returns what summary.json holds.

    Raises ConfigError, RunDirectoryError, PromptDataError or TrainingDiverged, each with what to do about it.
    """
    require_valid_sft(config)
    return in_its_directory(config, partial(_run, config), show_summary)


def _run(config: SFTConfig, run: RunDirectory, together: Together) -> None:
    ranks = together.ranks
    senses = compose.load_senses(config.model)
    data = read_examples(config, senses, run.rejected if together.first else None)
    checkpoint, damaged = rewound(config, run, together)
    state = TrainState() if checkpoint is None else TrainState.load(checkpoint)
    state.paces = (state.paces or Paces()) if config.parallel.balance_speeds else None
    steps = data.stream.num_steps
    with Progress(
        num_steps=steps, done=state.step, answers=0, live=config.run.progress, quiet=not together.first
    ) as progress:
        progress.say(f"{run.path}: {'going on after' if state.step else 'beginning at'} step {state.step} of {steps}")
        progress.say(data.described())
        for warning in [*damaged, *data.warnings(run.rejected)]:
            progress.warn(warning)
        profiler = build_profiler(config.run, run.profile, ranks, progress.say, done=state.step, num_steps=steps)
        model = compose.load_model(config.model)
        sizes = batch_sizes(config, cost_of(model, senses.adapter))
        strategy = build_learner(config, model, senses, ranks, steps)
        if checkpoint is not None:
            strategy.load(checkpoint)
        replica = compose.build_replica(config, senses, strategy)

        def refresh() -> None:
            if replica is not None:
                replica.refresh()

        export = partial(write_model, model if replica is None else replica.model, senses.processor)
        trainer = SupervisedTrainer(
            strategy=strategy,
            examples=data.stream,
            cut=example_batches,
            objective=Likelihood(config.train.aux_loss_coef),
            recorder=RunRecorder(
                run,
                progress,
                placement=Placement(),
                keep=config.run.max_ckpt_num,
                max_bytes=bytes_for_checkpoints(config),
                export=export if config.run.save_hf_ckpt else None,
                profiler=profiler,
                measured=strategy.imbalance,
                ranks=ranks,
                doing=together.doing,
            ),
            sizes=sizes,
            schedule=schedule(config),
            held_out=data.held_out,
            saving=refresh,
            state=state,
        )
        trainer.run()
        refresh()
        if config.train.enable_ema:
            export_average(strategy, replica, run.final_ema, export)

        def finish() -> None:
            write_folder(run.final, export)
            write_summary(run, trainer.state)

        by_the_first(ranks, finish)


def build_learner(config: SFTConfig, model: Any, senses: Senses, ranks: Ranks, steps: int) -> TorchStrategy:
    """The strategy that trains a model for so many steps. Raises ConfigError if it cannot be trained so."""
    adapt(model, config)
    freeze_named(model, config)
    train = config.train
    with compose.packable(config.model.pretrain):
        actor = LanguageActor(
            model,
            reader=senses.reader(config.parallel),
            packing=train.packing_samples,
            sharing=False,
            sequence_group=sequence_group(ranks, timedelta(seconds=config.parallel.ranks_timeout)),
            balance=train.aux_loss_coef > 0,
        )
    if train.compile:
        compile_layers(actor)
    factors = senses.factors(train.learning_rate, train.vision_learning_rate)
    optimiser = compose.optimiser_of(train, train.learning_rate, steps, factors)
    return compose.held(config, {"policy": actor}, {"policy": optimiser}, ranks)


def batch_sizes(config: SFTConfig, cost: Cost) -> BatchSizes:
    """How batches are cut, and dealt by what the model's passes cost."""
    train = config.train
    return BatchSizes(
        train.train_batch_size,
        train.micro_train_batch_size,
        train.max_tokens_per_micro_batch,
        config.data.max_len,
        shared_prompts=False,
        packing=train.packing_samples,
        cost=cost,
    )


def schedule(config: SFTConfig) -> Schedule:
    """When what happens besides learning."""
    return Schedule(
        max_skipped_steps=config.train.max_skipped_steps,
        save_steps=max(0, config.run.save_steps),
        eval_steps=max(0, config.evaluation.eval_steps),
    )
