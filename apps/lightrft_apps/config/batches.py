"""The arithmetic of batches, in a sentence."""

from __future__ import annotations

from lightrft_apps.config.rl import RLConfig


def describe_batches(config: RLConfig) -> str:
    """What a step samples and how many optimiser steps it takes.

    For example "16 prompts x 8 samples = 128 rollouts a step; train_batch_size 64: 2 optimiser steps a step
    (1 off-policy)". A step is off-policy when the model has changed since the answers were sampled.
    """
    prompts, samples = config.rollout.rollout_batch_size, config.rollout.n_samples_per_prompt
    rollouts = prompts * samples
    size = config.train.train_batch_size or rollouts
    passes, epochs = -(-rollouts // size), config.train.max_epochs
    steps = passes * epochs
    last = f", the last of each pass with {rollouts % size} samples" if rollouts % size else ""
    over = f" x {epochs} epochs" if epochs > 1 else ""
    policy = f"{steps - 1} off-policy" if steps > 1 else "on-policy"
    return (
        f"{_count(prompts, 'prompt')} x {_count(samples, 'sample')} = {_count(rollouts, 'rollout')} a step; "
        f"train_batch_size {size}{over}: {_count(steps, 'optimiser step')} a step{last} ({policy})"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
