"""Speeds measured from past steps: what they make of heterogeneous ranks, and that all ranks read them alike."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightrft_core import ALGORITHMS, BatchSizes, Cost, Pace, Paces, TrainingSequence, TrainState
from lightrft_core.partition import lower_bound, makespan, partition, work
from lightrft_core.plan import optimiser_steps

COST = Cost()


def batch(seed: int, prompts: int = 12, answers: int = 8) -> list[TrainingSequence]:
    """Answers of unequal lengths to prompts of their own."""
    chance, sequences, nothing = random.Random(seed), [], torch.ones(1)
    for prompt in range(prompts):
        prompt_ids, median = (prompt,) * chance.randint(50, 300), chance.lognormvariate(6.0, 0.5)
        for _ in range(answers):
            length = int(min(4096, max(8, median * chance.lognormvariate(0, 0.5))))
            place = len(sequences)
            sequences.append(TrainingSequence(prompt_ids, range(length), [True], 0.0, nothing, nothing, place))
    return sequences


@pytest.mark.parametrize("shared", [True, False])
def test_measured_speeds_bring_a_slow_ranks_makespan_to_a_twentieth_of_the_heterogeneous_bound(shared: bool) -> None:
    true, paces, chance = [1e6, 1e6, 0.5e6, 1e6], Paces(), random.Random(0)
    over: list[float] = []
    for step in range(6):
        sequences = batch(step)
        shares = partition(sequences, 4, cost=COST, shared_prompts=shared, speeds=paces.speeds(4))
        over.append(makespan(shares, true, COST, shared) / lower_bound(sequences, true, COST, shared))
        done = [work(share, COST, shared) for share in shares]
        pairs = zip(done, true, strict=True)
        paces.note([Pace(units, units / speed * chance.gauss(1, 0.02)) for units, speed in pairs])
    assert over[0] > 1.5, "nothing is known yet, and the slow rank has as much to do as the others"
    assert max(over[1:]) < 1.05


def test_a_rank_that_slows_down_gets_less_within_some_steps() -> None:
    paces = Paces()
    for speed in [1.0] * 30 + [0.5] * 30:
        paces.note([Pace(10.0, 10.0), Pace(10.0, 10.0 / speed)])
    fast, slow = paces.speeds(2) or ()
    assert fast == pytest.approx(1) and slow == pytest.approx(0.5, rel=0.05)


def test_one_odd_step_moves_the_speed_little() -> None:
    paces = Paces()
    for seconds in [10.0] * 30 + [1000.0]:
        paces.note([Pace(10.0, seconds)])
    assert (paces.speeds(1) or [0])[0] == pytest.approx(1, rel=0.12)


def test_what_one_rank_alone_had_to_set_up_at_first_is_soon_forgotten() -> None:
    paces = Paces()
    for seconds in (60.0, 1.0, 1.0, 1.0, 1.0):
        paces.note([Pace(10.0, seconds), Pace(10.0, 1.0)])
    slow, fast = paces.speeds(2) or ()
    assert slow / fast > 0.8


def test_who_had_nothing_to_do_keeps_the_speed_it_had() -> None:
    paces = Paces()
    paces.note([Pace(10.0, 5.0), Pace(30.0, 10.0)])
    before = paces.speeds(2)
    paces.note([Pace(20.0, 10.0), Pace(0.0, 0.001)])
    assert paces.speeds(2) == pytest.approx(before)


def test_there_are_no_speeds_until_all_are_measured_nor_for_another_number_of_learners() -> None:
    paces = Paces()
    assert paces.speeds(2) is None
    paces.note([Pace(10.0, 5.0), Pace(0.0, 0.0)])
    assert paces.speeds(2) is None
    paces.note([Pace(10.0, 5.0), Pace(10.0, 5.0)])
    assert paces.speeds(2) is not None and paces.speeds(3) is None
    paces.note([Pace(10.0, 5.0)] * 3)
    assert paces.speeds(3) == pytest.approx([2.0] * 3), "what two learners did says nothing of three"


def test_a_run_that_goes_on_from_a_checkpoint_plans_as_it_would_have(tmp_path: Path) -> None:
    state = TrainState(paces=Paces())
    assert state.paces is not None
    for step in range(5):
        state.paces.note([Pace(1 / 3 + step, 0.1), Pace(0.7, 0.1 + 0.2 * step)])
    state.save(tmp_path)
    loaded = TrainState.load(tmp_path)
    assert loaded == state and loaded.paces is not None
    speeds = loaded.paces.speeds(2)
    assert speeds == state.paces.speeds(2) is not None
    sequences = batch(7)
    assert partition(sequences, 2, speeds=speeds) == partition(sequences, 2, speeds=state.paces.speeds(2))


def test_without_the_flag_no_timing_gets_into_a_checkpoint(tmp_path: Path) -> None:
    TrainState().save(tmp_path)
    assert json.loads((tmp_path / "trainer.json").read_text())["paces"] is None


# What the plan makes of it


def shares_of(sizes: BatchSizes, world_size: int, speeds: list[float] | None = None) -> list[list[TrainingSequence]]:
    (step,) = optimiser_steps(batch(1), 96, ALGORITHMS["reinforce"], sizes, world_size, speeds)
    return [[sequence for part in rank for sequence in part] for rank in step]


def test_the_plan_deals_by_speeds_and_by_the_models_own_cost() -> None:
    sizes = BatchSizes(None, 100, 10**6, 4096)
    even, uneven = (shares_of(sizes, 2, speeds) for speeds in (None, [3.0, 1.0]))
    spent = [[work(share, COST, True) for share in shares] for shares in (even, uneven)]
    assert spent[0][0] / spent[0][1] == pytest.approx(1, rel=0.05)
    assert spent[1][0] / spent[1][1] == pytest.approx(3, rel=0.05)
    steep = Cost(1.0, 1.0)
    by_model = shares_of(BatchSizes(None, 100, 10**6, 4096, cost=steep), 2)
    first, second = (work(share, steep, True) for share in by_model)
    assert first / second == pytest.approx(1, rel=0.05)
    first, second = (work(share, steep, True) for share in even)
    assert first / second != pytest.approx(1, rel=0.02), "else the cost makes no difference here"


def tokens(part: list[TrainingSequence]) -> int:
    prompts = {sequence.prompt_ids for sequence in part}
    return sum(map(len, prompts)) + sum(len(sequence.response_ids) for sequence in part)


def test_packed_micro_batches_of_ranks_that_go_side_by_side_cost_about_the_same() -> None:
    (step,) = optimiser_steps(batch(1), 96, ALGORITHMS["reinforce"], BatchSizes(None, 64, 7000, 4096, packing=True), 3)
    spent = [[work(part, COST, True) for part in rank] for rank in step]
    side_by_side = sum(max(column) for column in zip(*spent, strict=True))
    assert len(step[0]) == 3
    assert side_by_side < 1.02 * max(map(sum, spent)), "1.07 as they are cut"
    assert sorted(s.place for rank in step for part in rank for s in part) == list(range(96))


@pytest.mark.parametrize("sizes", [BatchSizes(None, 9, 4200, 4096), BatchSizes(None, 64, 4200, 4096, cost=Cost(0, 1))])
def test_what_would_not_fit_when_evened_stays_as_it_was_cut(sizes: BatchSizes) -> None:
    (step,) = optimiser_steps(batch(1), 96, ALGORITHMS["reinforce"], replace(sizes, packing=True), 3)
    for part in (part for rank in step for part in rank):
        assert len(part) <= sizes.micro_train_batch_size
        assert tokens(part) <= 4200
