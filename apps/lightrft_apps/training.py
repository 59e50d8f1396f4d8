"""Reinforcement fine-tuning as `train(config)`: what `lightrft rl` does once its flags are read."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps import compose
from lightrft_apps.algorithm import build_algorithm
from lightrft_apps.config import RLConfig, describe_batches, differences, require_valid
from lightrft_apps.engines import EngineNeeds, open_engine
from lightrft_apps.environment import environment
from lightrft_apps.progress import Progress
from lightrft_apps.recorder import RunRecorder
from lightrft_apps.run_directory import RunDirectory, open_run
from lightrft_apps.summary import read_summary, show_summary, write_summary
from lightrft_core import BatchSizes, Schedule, Trainer, TrainState
from lightrft_strategy.checkpoints import prune_checkpoints, write_folder
from lightrft_strategy.data import LoadedPrompts, PromptDataError, PromptStream, load_prompts, overlap, write_rejected
from lightrft_strategy.devices import keep_freed_memory
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.generation import ignored_wishes
from lightrft_strategy.placement import Placement
from lightrft_strategy.roofline import Roofline


def train(config: RLConfig) -> dict[str, Any]:
    """Train, or go on training, in config.run.output_dir. Returns what summary.json holds.

    Raises ConfigError, RunDirectoryError, PromptDataError, RewardSetupError, RewardFailure or TrainingDiverged, each
    with what to do about it.
    """
    require_valid(config)
    keep_freed_memory()
    hide_progress_bars()

    def differ(path: Path) -> dict[str, tuple[Any, Any]]:
        return differences(RLConfig.from_file(path).to_flat(), config.to_flat())

    run, resuming = open_run(Path(config.run.output_dir).expanduser(), differ)
    try:
        if not resuming:
            config.save(run.config, environment())
        if not run.summary.exists():
            _run(config, run)
        summary = read_summary(run.summary)
        show_summary(summary, run.path)
        return summary
    finally:
        run.close()


def _run(config: RLConfig, run: RunDirectory) -> None:
    tokenizer = compose.load_tokenizer(config.model)
    try:
        loaded = load_prompts(compose.prompt_spec(config.data), tokenizer)
        spec = compose.eval_spec(config)
        held_out = load_prompts(spec, tokenizer) if spec is not None else LoadedPrompts([], [], [])
    except PromptDataError as error:
        write_rejected(run.rejected, error.rejected)
        raise
    eval_prompts = compose.held_out(held_out.sources)
    probs = compose.prompt_spec(config.data).probs
    prompts = PromptStream(
        loaded.sources, probs, config.rollout.rollout_batch_size, config.train.num_episodes, config.run.seed
    )
    if config.train.max_steps is not None:
        prompts.num_steps = min(prompts.num_steps, config.train.max_steps)

    prune_checkpoints(run.checkpoints, keep=config.run.max_ckpt_num)
    checkpoint = run.rewind()
    state = TrainState() if checkpoint is None else TrainState.load(checkpoint)
    answers = config.rollout.rollout_batch_size * config.rollout.n_samples_per_prompt
    progress = Progress(num_steps=prompts.num_steps, done=state.step, answers=answers, live=config.run.progress)
    with progress, compose.build_judge(config.reward, run.verdicts) as judge, ExitStack() as stack:
        progress.say(f"{run.path}: {'going on after' if state.step else 'beginning at'} step {state.step}")
        progress.say(describe_batches(config))
        rejected = loaded.rejected + held_out.rejected
        write_rejected(run.rejected, rejected)
        if rejected:
            progress.warn(f"{len(rejected)} rows could not be used and lie in {run.rejected}; the first: {rejected[0]}")
        for warning in [*loaded.warnings, *held_out.warnings]:
            progress.warn(warning)
        seen = overlap([prompt for source in loaded.sources for prompt in source], eval_prompts)
        if seen:
            progress.warn(f"{len(seen)} held-out prompts are also trained on; the first: {' = '.join(seen[0])}")

        model = compose.load_model(config.model)
        for name, value in ignored_wishes(model).items():
            progress.warn(
                f"the model's generation_config.json asks for {name}={value}; the flags decide, so it is not used"
            )
        steps_per_batch = -(-answers // (config.train.train_batch_size or answers)) * config.train.max_epochs
        algorithm = build_algorithm(config)
        strategy = compose.build_strategy(
            config, algorithm, model, steps_per_batch=steps_per_batch, batches=prompts.num_steps
        )
        if checkpoint is not None:
            strategy.load(checkpoint)
        sampling, eval_sampling = compose.train_sampling(config), compose.eval_sampling(config)
        needs = EngineNeeds(
            compose.longest_sequence(
                [*loaded.sources, eval_prompts], sampling.max_new_tokens, eval_sampling.max_new_tokens
            ),
            (sampling, eval_sampling),
            config.run.seed,
            config.rollout.micro_rollout_batch_size,
        )
        engine = stack.enter_context(
            open_engine(
                config.engine, config.model, model, tokenizer, needs, progress=progress.advance, say=progress.warn
            )
        )
        trainer = Trainer(
            algorithm=algorithm,
            strategy=strategy,
            engine=engine,
            reward=compose.build_vote(config.reward) if config.shaping.ttrl else judge,
            prompts=prompts,
            recorder=RunRecorder(
                run,
                progress,
                placement=Placement(
                    engine if isinstance(engine, ServedEngine) and config.engine.enable_engine_sleep else None,
                    progress.say,
                ),
                roofline=Roofline.of(model),
                keep=config.run.max_ckpt_num,
                save_trajectories=config.run.save_trajectories,
            ),
            sampling=sampling,
            sizes=BatchSizes(
                config.train.train_batch_size,
                config.train.micro_train_batch_size,
                config.train.max_tokens_per_micro_batch,
                config.rollout.generate_max_len,
                config.train.max_epochs,
                shared_prompts=not config.model.gradient_checkpointing,
            ),
            schedule=Schedule(
                freezing_actor_steps=config.critic.freezing_actor_steps,
                max_skipped_steps=config.train.max_skipped_steps,
                save_steps=max(0, config.run.save_steps),
                eval_steps=max(0, config.evaluation.eval_steps),
            ),
            eval_prompts=eval_prompts,
            eval_sampling=eval_sampling,
            eval_reward=judge,
            state=state,
        )
        trainer.run()

        def export(folder: Path) -> None:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

        write_folder(run.final, export)
    write_summary(run, trainer.state)
