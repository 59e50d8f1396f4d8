"""The loop: sample, judge, select, estimate, optimise, publish, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightrft_core.algorithm import Algorithm
from lightrft_core.batching import Batch
from lightrft_core.evaluation import Evaluation, evaluate
from lightrft_core.experience import make_experience, note_tokens
from lightrft_core.metrics import Metrics
from lightrft_core.plan import BatchSizes
from lightrft_core.protocols import Engine, PromptSource, Recorder, Reward, Strategy
from lightrft_core.ranks import share
from lightrft_core.rollout_metrics import rollout_metrics
from lightrft_core.sampling import SamplingParams
from lightrft_core.state import TrainState
from lightrft_core.types import Group, Prompt
from lightrft_core.updates import Schedule, update


@dataclass
class Trainer:
    """Reinforcement fine-tuning of the strategy's "policy", with what else the algorithm needs: "reference", "critic".

    eval_reward judges held-out answers; None: reward does.
    """

    algorithm: Algorithm
    strategy: Strategy
    engine: Engine
    reward: Reward
    prompts: PromptSource
    recorder: Recorder
    sampling: SamplingParams
    sizes: BatchSizes
    schedule: Schedule = field(default_factory=Schedule)
    eval_prompts: Sequence[Prompt] = ()
    eval_sampling: SamplingParams = field(default_factory=lambda: SamplingParams(temperature=0))
    eval_reward: Reward | None = None
    state: TrainState = field(default_factory=TrainState)

    def run(self) -> None:
        """Train to the last step, from wherever the state stands. Raises TrainingDiverged."""
        self.engine.load_weights(self.state.optimiser_steps)
        if self.state.step == 0 and self.eval_prompts:
            self.recorder.record(0, self.evaluate(0).metrics(), [])
        for step in range(self.state.step + 1, self.prompts.num_steps + 1):
            sampled, groups = self.sample(step)
            with self.recorder.phase("estimate", step):
                algorithm = self.state.steered(self.algorithm)
                algorithm.shaping.scale(groups, self.state.moments)
                steps, metrics = make_experience(groups, algorithm, self.strategy, self.sizes, self.state.paces)
            with self.recorder.phase("optimise", step):
                for batches in steps * self.sizes.max_epochs:
                    self.optimise(batches, algorithm, step, metrics)
            with self.recorder.phase("publish", step):
                metrics.merge(self.engine.load_weights(self.state.optimiser_steps))
            self.finish(step, sampled, groups, metrics)

    def sample(self, step: int) -> tuple[list[Group], list[Group]]:
        """Judged groups of all ranks: those that were sampled, and those to learn from, sampled anew until enough."""
        dynamic, missing, sampled, kept = self.algorithm.dynamic_sampling, 0, list[Group](), list[Group]()
        for number in range(dynamic.max_rounds if dynamic else 1):
            prompts = self.state.spare(self.prompts, missing) if number else self.prompts.batch(step)
            with self.recorder.phase("sample", step):
                groups = self.engine.generate(share(prompts, self.strategy), self.sampling, step=step)
            with self.recorder.phase("judge", step):
                for group, verdicts in zip(groups, self.reward.score(groups, step=step), strict=True):
                    self.algorithm.shaping.judge(group, verdicts, self.sampling.max_new_tokens)
                groups = self.strategy.gather(groups)
            useful = [group for group in groups if dynamic is None or dynamic.keeps(group)]
            sampled, kept = sampled + groups, kept + useful
            missing = len(prompts) - len(useful)
            if not missing:
                break
        else:
            self.recorder.warn(step, f"{missing} groups short of a full batch after {number + 1} rounds of sampling")
        return sampled, kept

    def optimise(self, batches: Sequence[Batch], algorithm: Algorithm, step: int, metrics: Metrics) -> None:
        """One optimiser step of every model that learns."""
        self.state.optimiser_steps += 1
        losses = algorithm.losses(policy=step > self.schedule.freezing_actor_steps)
        faults = {key: update(self.strategy, key, batches, losses[key], metrics, self.state.paces) for key in losses}
        for model in filter(faults.get, faults):
            self.recorder.warn(step, f"{model}: optimiser step {self.state.optimiser_steps} skipped: {faults[model]}")
        self.state.count(faults.values(), self.schedule.max_skipped_steps)

    def evaluate(self, step: int) -> Evaluation:
        """Held-out accuracy of the policy as it stands."""
        with self.recorder.phase("evaluate", step):
            judge = self.eval_reward or self.reward
            evaluation = evaluate(self.engine, judge, self.eval_prompts, self.eval_sampling, self.strategy, step=step)
        self.recorder.evaluated(step, evaluation.groups)
        self.state.evaluations[step] = evaluation.accuracy
        return evaluation

    def finish(self, step: int, sampled: Sequence[Group], groups: Sequence[Group], metrics: Metrics) -> None:
        """Record the step, warn if it looks wrong, evaluate and checkpoint when due."""
        note_tokens(groups, metrics, self.strategy, wanted=self.recorder.keeps_answers)
        metrics.merge(rollout_metrics(sampled, kept=len(groups)))
        numbers, last = self.strategy.reduce(metrics), step == self.prompts.num_steps
        if self.eval_prompts and (last or (self.schedule.eval_steps and step % self.schedule.eval_steps == 0)):
            numbers |= self.evaluate(step).metrics()
        for warning in self.state.vitals.check(numbers):
            self.recorder.warn(step, warning)
        samples = len(groups) * self.sampling.n
        self.state.steer(self.algorithm, numbers.get("policy/kl_reference"), samples)
        self.state.step = step
        self.recorder.record(step, numbers, sampled)
        if last or (self.schedule.save_steps and step % self.schedule.save_steps == 0):
            self.recorder.checkpoint(step, self.save)

    def save(self, folder: Path) -> None:
        """Everything needed to go on exactly."""
        self.strategy.save(folder)
        self.state.save(folder, self.strategy)
