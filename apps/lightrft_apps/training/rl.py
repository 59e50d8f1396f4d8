"""Reinforcement fine-tuning as `train(config)`: what `lightrft rl` does once its flags are read."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from lightrft_apps.config import RLConfig, describe_batches, require_valid
from lightrft_apps.config.algorithm import build_algorithm
from lightrft_apps.data.prompts import read_prompts
from lightrft_apps.engines.any_engine import open_engine
from lightrft_apps.engines.own import EngineNeeds, awaited_of
from lightrft_apps.models import compose, loading
from lightrft_apps.models.averaging import export_average
from lightrft_apps.models.hugging_face import write_model
from lightrft_apps.models.parallel import Together, by_the_first
from lightrft_apps.models.precision import compute_dtype
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.media import MediaKeeper
from lightrft_apps.recording.profiling import build_profiler
from lightrft_apps.recording.progress import Progress
from lightrft_apps.recording.recorder import RunRecorder
from lightrft_apps.recording.summary import show_summary, write_summary
from lightrft_apps.recording.trackers import open_trackers
from lightrft_apps.reporting.writing import report_at_end
from lightrft_apps.rewards.judging import build_judges, build_reward
from lightrft_apps.training.running import bytes_for_checkpoints, in_its_directory, rewound
from lightrft_core import Engine, Paces, Trainer, TrainState
from lightrft_strategy.checkpoints import write_folder
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.generation import ignored_wishes
from lightrft_strategy.placement import Placement
from lightrft_strategy.roofline import Roofline
from lightrft_strategy.token_texts import TokenTexts
from lightrft_strategy.training.compiling import SampledUncompiled
from lightrft_strategy.training.cost import cost_of
from lightrft_strategy.training.replica import Replicated
from lightrft_strategy.training.resting import resting


def train(config: RLConfig) -> dict[str, Any]:
    """Train, or go on training, in config.run.output_dir. Returns what summary.json holds.

    Raises ConfigError, RunDirectoryError, PromptDataError, RewardSetupError, RewardFailure or TrainingDiverged, each
    with what to do about it.
    """
    require_valid(config)
    return in_its_directory(config, partial(_run, config), show_summary)


def _run(config: RLConfig, run: RunDirectory, together: Together) -> None:
    ranks = together.ranks
    senses = loading.load_senses(config.model)
    prompts = read_prompts(config, senses, run.rejected if together.first else None)
    if together.first and prompts.loaded.form is not None:
        prompts.loaded.form.write(run.path)

    checkpoint, damaged = rewound(config, run, together)
    state = TrainState() if checkpoint is None else TrainState.load(checkpoint)
    state.paces = (state.paces or Paces()) if config.parallel.balance_speeds else None
    answers = config.rollout.rollout_batch_size * config.rollout.n_samples_per_prompt
    steps = prompts.stream.num_steps
    progress = Progress(
        num_steps=steps, done=state.step, answers=answers, live=config.run.progress, quiet=not together.first
    )
    with progress, ExitStack() as stack:
        if together.first:
            run.announce(steps)
        trackers = stack.enter_context(open_trackers(config, run, progress.warn, first=together.first))
        progress.say(f"{run.path}: {'going on after' if state.step else 'beginning at'} step {state.step}")
        progress.say(describe_batches(config))
        media = compose.most_media([*prompts.loaded.sources, prompts.evaluation])
        in_turns = config.parallel.placement == "colocate"
        judge, eval_judge = build_judges(
            config.reward,
            config.judges,
            run.journal(ranks.rank),
            dtype=compute_dtype(config.model),
            in_turns=in_turns,
            media=media,
            trust_remote_code=config.model.trust_remote_code,
            steps=config.shaping.step_reward_coef != 0,
            pulse=together.pulse,
        )
        stack.callback(judge.close)
        for warning in [*damaged, *prompts.warnings(run.rejected)]:
            progress.warn(warning)

        profiler = build_profiler(config.run, run.profile, ranks, progress.say, done=state.step, num_steps=steps)
        model = loading.load_to_hold(config, say=progress.warn)
        for name, value in ignored_wishes(model).items():
            progress.warn(
                f"the model's generation_config.json asks for {name}={value}; the flags decide, so it is not used"
            )
        steps_per_batch = -(-answers // (config.train.train_batch_size or answers)) * config.train.max_epochs
        algorithm, cost = build_algorithm(config), cost_of(model, senses.adapter)
        strategy = compose.build_strategy(
            config,
            algorithm,
            model,
            senses,
            ranks,
            steps_per_batch=steps_per_batch,
            batches=steps,
            say=progress.warn,
        )
        if checkpoint is not None:
            strategy.load(checkpoint, checksums=False)
        sampling, eval_sampling = compose.train_sampling(config), compose.eval_sampling(config)
        replica = compose.build_replica(config, senses, strategy)
        policy = model if replica is None else replica.model
        export = partial(write_model, policy, senses.processor, form=prompts.loaded.form)
        engine = stack.enter_context(
            open_engine(
                config.engine,
                config.model,
                policy,
                senses,
                EngineNeeds(
                    compose.longest_sequence(
                        [*prompts.loaded.sources, prompts.evaluation],
                        sampling.max_new_tokens,
                        eval_sampling.max_new_tokens,
                    ),
                    (sampling, eval_sampling),
                    config.run.seed,
                    config.rollout.micro_rollout_batch_size,
                    media,
                ),
                progress=progress.advance,
                say=progress.warn,
                together=together,
            )
        )
        sleeper = engine if isinstance(engine, ServedEngine) and config.engine.enable_engine_sleep else None
        sampled: Engine = engine if replica is None else Replicated(engine, replica)
        if config.train.compile and replica is None:
            sampled = SampledUncompiled(sampled, policy)
        awaited = awaited_of(config.engine)
        rests = resting(strategy, replica) if in_turns else []
        trainer = Trainer(
            algorithm=algorithm,
            strategy=strategy,
            engine=sampled,
            reward=build_reward(config, judge, senses.tokenizer),
            prompts=prompts.stream,
            recorder=RunRecorder(
                run,
                progress,
                placement=Placement(sleeper, progress.say, rests),
                roofline=Roofline.of(policy),
                keep=config.run.max_ckpt_num,
                max_bytes=bytes_for_checkpoints(config),
                save_trajectories=config.run.save_trajectories,
                texts=TokenTexts(senses.tokenizer),
                media=MediaKeeper(run.media, progress.warn) if config.run.save_media else None,
                export=export if config.run.save_hf_ckpt else None,
                profiler=profiler,
                measured=strategy.imbalance,
                trackers=trackers,
                ranks=ranks,
                doing=lambda phase, step: together.doing(phase, step, awaited.get(phase)),
            ),
            sampling=sampling,
            sizes=compose.batch_sizes(config, cost),
            schedule=compose.schedule(config),
            eval_prompts=prompts.evaluation,
            eval_sampling=eval_sampling,
            eval_reward=eval_judge,
            state=state,
        )
        trainer.run()
        if config.train.enable_ema:
            export_average(strategy, replica, run.final_ema, export)

        def finish() -> None:
            write_folder(run.final, export)
            write_summary(run, trainer.state)
            report_at_end(run, progress.warn)

        by_the_first(ranks, finish)
