"""A supervised run, whatever its model learns: trained from wherever it stands, looked at, left for others to load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lightrft_apps.config import SupervisedConfig, TuneArgs
from lightrft_apps.data.examples import Named, RunExamples
from lightrft_apps.models.averaging import export_average
from lightrft_apps.models.parallel import Together, by_the_first
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.profiling import build_profiler
from lightrft_apps.recording.progress import Progress
from lightrft_apps.recording.recorder import RunRecorder
from lightrft_apps.recording.trackers import open_trackers
from lightrft_apps.training.running import bytes_for_checkpoints, rewound
from lightrft_core import BatchSizes, Cost, Paces, Schedule, TrainState
from lightrft_strategy.checkpoints import write_folder
from lightrft_strategy.placement import Placement
from lightrft_strategy.sft import Cut, Objective, SupervisedTrainer
from lightrft_strategy.training import TorchStrategy
from lightrft_strategy.training.replica import Replica

E = TypeVar("E", bound=Named)


@dataclass(frozen=True)
class Learner(Generic[E]):
    """A model in training, and how it learns.

    model: what strategy, checkpoints and metrics call it. replica: a whole copy where ranks hold it in shards.
    export: writes it, or its copy, into a folder for others to load; export_ema: the same of averaged weights.
    cut: examples into micro-batches of these sizes. objective: what is minimised.
    """

    model: str
    strategy: TorchStrategy
    replica: Replica[Any] | None
    export: Callable[[Path], None]
    export_ema: Callable[[Path], None]
    cut: Cut[E]
    objective: Objective
    sizes: BatchSizes


def supervise(
    config: SupervisedConfig,
    run: RunDirectory,
    together: Together,
    data: RunExamples[E],
    build: Callable[[int, Callable[[str], None]], Learner[E]],
    summarise: Callable[[RunDirectory, TrainState], None],
    look: Callable[[], None] = lambda: None,
) -> None:
    """Train to the last step and leave final/ and the summary; every rank calls it.

    build: the model as it begins, to be trained for so many steps; it tells the second what should be noticed.
    summarise: writes summary.json. look: what every rank does with the trained model before that.
    """
    ranks, steps = together.ranks, data.stream.num_steps
    checkpoint, damaged = rewound(config, run, together)
    state = TrainState() if checkpoint is None else TrainState.load(checkpoint)
    state.paces = (state.paces or Paces()) if config.parallel.balance_speeds else None
    with (
        Progress(
            num_steps=steps, done=state.step, answers=0, live=config.run.progress, quiet=not together.first
        ) as progress,
        open_trackers(config, run, progress.warn, first=together.first) as trackers,
    ):
        if together.first:
            run.announce(steps)
        progress.say(f"{run.path}: {'going on after' if state.step else 'beginning at'} step {state.step} of {steps}")
        progress.say(data.read.described)
        for warning in [*damaged, *data.warnings(run.rejected)]:
            progress.warn(warning)
        profiler = build_profiler(config.run, run.profile, ranks, progress.say, done=state.step, num_steps=steps)
        learner = build(steps, progress.warn)
        strategy, replica = learner.strategy, learner.replica
        if checkpoint is not None:
            strategy.load(checkpoint, checksums=False)

        def refresh() -> None:
            if replica is not None:
                replica.refresh()

        trainer = SupervisedTrainer(
            strategy=strategy,
            examples=data.stream,
            cut=learner.cut,
            objective=learner.objective,
            recorder=RunRecorder(
                run,
                progress,
                placement=Placement(),
                keep=config.run.max_ckpt_num,
                max_bytes=bytes_for_checkpoints(config),
                export=learner.export if config.run.save_hf_ckpt else None,
                profiler=profiler,
                measured=strategy.imbalance,
                trackers=trackers,
                ranks=ranks,
                doing=together.doing,
            ),
            sizes=learner.sizes,
            schedule=schedule(config),
            held_out=data.read.held_out,
            model=learner.model,
            saving=refresh,
            state=state,
        )
        trainer.run()
        refresh()
        if config.train.enable_ema:
            export_average(strategy, replica, run.final_ema, learner.export_ema, learner.model)

        def finish() -> None:
            write_folder(run.final, learner.export)
            summarise(run, trainer.state)

        look()
        by_the_first(ranks, finish)


def batch_sizes(train: TuneArgs, max_len: int, cost: Cost) -> BatchSizes:
    """How batches of examples of at most max_len tokens are cut, and dealt by what the model's passes cost."""
    return BatchSizes(
        train.train_batch_size,
        train.micro_train_batch_size,
        train.max_tokens_per_micro_batch,
        max_len,
        shared_prompts=False,
        packing=train.packing_samples,
        cost=cost,
    )


def schedule(config: SupervisedConfig) -> Schedule:
    """When what happens besides learning."""
    return Schedule(
        max_skipped_steps=config.train.max_skipped_steps,
        save_steps=max(0, config.run.save_steps),
        eval_steps=max(0, config.evaluation.eval_steps),
    )
