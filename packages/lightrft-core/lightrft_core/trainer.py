"""The loop: sample, judge, estimate, optimise, publish, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightrft_core.algorithms import Algorithm
from lightrft_core.evaluation import Evaluation, evaluate
from lightrft_core.metrics import Metrics
from lightrft_core.plan import BatchSizes, estimate_advantages, optimiser_steps
from lightrft_core.protocols import Engine, PromptSource, Recorder, Reward, Strategy
from lightrft_core.rollout_metrics import rollout_metrics
from lightrft_core.sampling import SamplingParams
from lightrft_core.shaping import stop_properly
from lightrft_core.state import TrainState
from lightrft_core.types import Group, Prompt


@dataclass
class Trainer:
    """Reinforcement fine-tuning of the strategy's "policy" (and against its "reference", if the algorithm has a KL).

    truncated_coefficient: multiplies the reward of answers that were cut off. max_epochs: passes over each batch of
    rollouts. max_skipped_steps: non-finite optimiser steps in a row to endure.
    save_steps, eval_steps: every how many steps; 0 for the last step only.
    """

    algorithm: Algorithm
    strategy: Strategy
    engine: Engine
    reward: Reward
    prompts: PromptSource
    recorder: Recorder
    sampling: SamplingParams
    sizes: BatchSizes
    truncated_coefficient: float = 1.0
    max_epochs: int = 1
    max_skipped_steps: int = 5
    save_steps: int = 0
    eval_steps: int = 0
    eval_prompts: Sequence[Prompt] = ()
    eval_sampling: SamplingParams = field(default_factory=lambda: SamplingParams(temperature=0))
    state: TrainState = field(default_factory=TrainState)

    def run(self) -> None:
        """Train to the last step, from wherever the state stands. Raises TrainingDiverged."""
        if self.state.step == 0 and self.eval_prompts:
            self.recorder.record(0, self.evaluate(0).metrics(), [])
        for step in range(self.state.step + 1, self.prompts.num_steps + 1):
            prompts = self.prompts.batch(step)[self.strategy.rank :: self.strategy.world_size]
            with self.recorder.phase("sample", step):
                groups = self.engine.generate(prompts, self.sampling, step=step)
            with self.recorder.phase("judge", step):
                self.judge(groups, step)
            estimate_advantages(groups, self.algorithm)
            with self.recorder.phase("optimise", step):
                metrics = self.optimise(groups, step)
            with self.recorder.phase("publish", step):
                self.engine.load_weights(self.state.optimiser_steps)
            self.finish(step, groups, metrics)

    def judge(self, groups: Sequence[Group], step: int) -> None:
        """Give every rollout its verdict."""
        for group, verdicts in zip(groups, self.reward.score(groups, step=step), strict=True):
            for rollout, verdict in zip(group.rollouts, verdicts, strict=True):
                rollout.verdict = stop_properly(verdict, rollout.finish_reason, self.truncated_coefficient)

    def optimise(self, groups: Sequence[Group], step: int) -> Metrics:
        """All optimiser steps one batch of rollouts is used for."""
        metrics = rollout_metrics(groups)
        steps = optimiser_steps(groups, self.algorithm, self.sizes, self.strategy.all_sum)
        for batch in (batch for batches in steps for batch in batches):
            if self.max_epochs * len(steps) > 1:
                batch.old_logprobs = self.strategy.forward("policy", batch).logprobs
            if self.algorithm.kl_coef:
                batch.reference_logprobs = self.strategy.forward("reference", batch).logprobs
        for batches in steps * self.max_epochs:
            self.state.optimiser_steps += 1
            if not any(self.strategy.all_sum([float(len(batches))])):
                self.strategy.skip_step("policy")
                metrics.mean("optimiser/no_signal_share", [1.0])
                continue
            report = self.strategy.train_step("policy", batches, self.algorithm.loss)
            metrics.merge(report.summary())
            if report.fault:
                self.recorder.warn(step, f"optimiser step {self.state.optimiser_steps} skipped: {report.fault}")
            self.state.count(report.fault, self.max_skipped_steps)
        return metrics

    def evaluate(self, step: int) -> Evaluation:
        """Held-out accuracy of the policy as it stands."""
        with self.recorder.phase("evaluate", step):
            evaluation = evaluate(self.engine, self.reward, self.eval_prompts, self.eval_sampling, step=step)
        self.recorder.evaluated(step, evaluation.groups)
        self.state.evaluations[step] = evaluation.accuracy
        return evaluation

    def finish(self, step: int, groups: Sequence[Group], metrics: Metrics) -> None:
        """Record the step, warn if it looks wrong, evaluate and checkpoint when due."""
        numbers = self.strategy.reduce(metrics)
        last = step == self.prompts.num_steps
        if self.eval_prompts and (last or (self.eval_steps and step % self.eval_steps == 0)):
            numbers |= self.evaluate(step).metrics()
        for warning in self.state.vitals.check(numbers):
            self.recorder.warn(step, warning)
        self.state.step = step
        self.recorder.record(step, numbers, groups)
        if last or (self.save_steps and step % self.save_steps == 0):
            self.recorder.checkpoint(step, self.save)

    def save(self, folder: Path) -> None:
        """Everything needed to go on exactly."""
        self.strategy.save(folder)
        self.state.save(folder)
