"""The loop on several ranks is the loop on one: whoever samples, judges and learns, the same numbers come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch

from lightrft_core import (
    ALGORITHMS,
    Algorithm,
    BatchSizes,
    Group,
    Prompt,
    SamplingParams,
    Schedule,
    Trainer,
    TrainState,
)

from .threads import Tables, ThreadRank, on_ranks
from .world import EVAL, N, World

pytestmark = pytest.mark.usefixtures("one_thread")

HELD_OUT = [Prompt(f"held-out{i}", (), "", (40 + i, 50)) for i in range(4)]
Run = Callable[..., list[Trainer]]


@dataclass
class WideWorld(World):
    """Five prompts a step, which of all this rank was asked, and the groups it recorded."""

    drawn: list[str] = field(default_factory=list)
    groups: dict[int, list[Group]] = field(default_factory=dict)

    def batch(self, step: int) -> list[Prompt]:
        return [Prompt(f"row{step}.{i}", (), "", (10 + step, *[20 + i] * (i + 1))) for i in range(5)]

    def generate(self, prompts, sampling, *, step):
        self.drawn += [prompt.uid for prompt in prompts]
        return super().generate(prompts, sampling, step=step)

    def record(self, step, metrics, groups):
        self.groups[step] = list(groups)
        super().record(step, metrics, groups)


def odd_beginning(group: Group, sample: int) -> float | None:
    """1 for answers that begin with an odd token, 0 for others; some judgements fail."""
    token = group.rollouts[sample].token_ids[0]
    return None if token % 11 == 0 else float(token % 2)


@pytest.fixture
def run(build_group, tmp_path) -> Run:
    """run(world_size, algorithm, sizes, per_learner=1) -> the trainer of every rank after two steps."""

    def run(world_size: int, algorithm: Algorithm, sizes: BatchSizes, per_learner: int = 1) -> list[Trainer]:
        def work(ranks: ThreadRank) -> Trainer:
            ranks.learner, ranks.learners = ranks.rank // per_learner, world_size // per_learner
            world = WideWorld(build_group, tmp_path / f"{ranks.rank} of {world_size}", odd_beginning)
            sampling, schedule = SamplingParams(n=N, max_new_tokens=16), Schedule(eval_steps=1)
            evaluated = {"eval_prompts": HELD_OUT, "eval_sampling": EVAL}
            world_of_rank = (Tables(ranks), world, world, world, world)
            trainer = Trainer(algorithm, *world_of_rank, sampling, sizes, schedule=schedule, **evaluated)
            trainer.run()
            return trainer

        return on_ranks(world_size, work)

    return run


@pytest.mark.parametrize(
    ("name", "world_size"),
    [*((name, 2) for name in ALGORITHMS), *((name, 7) for name in ("dapo", "grpo", "high_entropy", "ppo"))],
)
def test_any_number_of_ranks_records_the_numbers_of_one_and_learns_its_weights(run, name: str, world_size: int) -> None:
    sizes = BatchSizes(12, 3, 200, 16, max_epochs=2)
    (alone,) = run(1, ALGORITHMS[name], sizes)
    ranks = run(world_size, ALGORITHMS[name], sizes)
    assert list(alone.recorder.records) == [0, 1, 2]
    assert alone.recorder.records[2]["optimiser/no_signal_share"] < 1
    for trainer in ranks:
        assert trainer.recorder.records == ranks[0].recorder.records, "ranks agree to the last bit"
        assert trainer.state == ranks[0].state
    for step, numbers in alone.recorder.records.items():
        assert ranks[0].recorder.records[step] == pytest.approx(numbers, rel=1e-6, abs=1e-9)
    assert ranks[0].recorder.warnings == alone.recorder.warnings
    for model in ("policy", "critic"):
        learnt = [trainer.strategy.models[model].table for trainer in (alone, *ranks)]
        begun = Tables(alone.strategy.ranks).models[model].table
        assert torch.equal(learnt[0], begun) == (model == "critic" and not ALGORITHMS[name].estimator.critic)
        for table in learnt[1:]:
            torch.testing.assert_close(table, learnt[0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_ranks_of_one_learner_sample_apart_and_learn_the_same(run, name: str) -> None:
    sizes = BatchSizes(12, 3, 200, 16, max_epochs=2)
    (alone,), ranks = run(1, ALGORITHMS[name], sizes), run(4, ALGORITHMS[name], sizes, 2)
    drawn = [uid for trainer in ranks for uid in trainer.engine.drawn]
    assert sorted(drawn) == sorted(alone.engine.drawn)
    for trainer in ranks:
        assert trainer.recorder.records == ranks[0].recorder.records, "ranks agree to the last bit"
        torch.testing.assert_close(
            trainer.strategy.models["policy"].table, alone.strategy.models["policy"].table, rtol=1e-6, atol=1e-8
        )
    for step, numbers in alone.recorder.records.items():
        assert ranks[0].recorder.records[step] == pytest.approx(numbers, rel=1e-6, abs=1e-9)
    assert alone.strategy.batches > ranks[0].strategy.batches == ranks[1].strategy.batches


def test_a_prompt_is_answered_by_one_rank_only(run) -> None:
    ranks = run(2, ALGORITHMS["reinforce"], BatchSizes(None, 3, 200, 16))
    held_out = [prompt.uid for prompt in HELD_OUT]
    assert ranks[0].engine.drawn[:4] == [*held_out[:2], "row1.0", "row1.1"]
    assert ranks[1].engine.drawn[:5] == [*held_out[2:], "row1.2", "row1.3", "row1.4"]
    assert not set(ranks[0].engine.drawn) & set(ranks[1].engine.drawn)
    assert ranks[0].state.evaluations[0].n == len(HELD_OUT)


def test_all_ranks_recorded_groups_are_those_of_all(run) -> None:
    algorithm = replace(ALGORITHMS["dapo"], dynamic_sampling=None)
    for trainer in run(3, algorithm, BatchSizes(None, 3, 200, 16)):
        sampled, kept = trainer.recorder.groups[1], [f"row1.{i}" for i in range(5)]
        assert [group.prompt.uid for group in sampled] == kept


def test_the_first_rank_alone_writes_the_state_of_all(run, tmp_path) -> None:
    ranks = run(2, ALGORITHMS["reinforce"], BatchSizes(None, 3, 200, 16))
    assert TrainState.load(tmp_path / "0 of 2" / "step_2") == ranks[1].state
    assert [path.parent.parent.name for path in tmp_path.rglob("trainer.json")] == ["0 of 2"]


def test_groups_missing_on_any_rank_are_sampled_anew_by_all_together(run) -> None:
    sizes = BatchSizes(None, 3, 200, 16)
    (alone,), ranks = run(1, ALGORITHMS["dapo"], sizes), run(3, ALGORITHMS["dapo"], sizes)
    spare = sorted(uid for uid in alone.engine.drawn if uid.startswith("spare"))
    assert spare
    assert sorted(uid for rank in ranks for uid in rank.engine.drawn if uid.startswith("spare")) == spare
    assert {rank.state.spare_prompts for rank in ranks} == {alone.state.spare_prompts}
