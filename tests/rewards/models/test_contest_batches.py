"""Contests as micro-batches: whole, dealt evenly, and of the same loss and metrics however they are cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_core import BatchSizes, Metrics
from lightrft_rewards.models.contest_losses import LOSSES, LossOptions
from lightrft_rewards.models.objective import RewardObjective
from lightrft_rewards.models.passage import Contest, Passage
from lightrft_rewards.models.reward_model import RewardOutput

from .planted import a_contest, a_passage

HEADS = ("helpful", "harmless")


@dataclass
class Rank:
    """One of several learners."""

    learner: int
    learners: int


def made(random: Random, count: int) -> list[Contest]:
    """Of two to four answers, some tied, some without a label for a head, one without any."""
    rows = []
    for number in range(count):
        row = a_contest(random, number, answers=random.randrange(1, 5), heads=HEADS)
        labels = dict(row.labels)
        if random.random() < 0.3:
            labels["helpful"] = (1.0,) * len(row.passages)
        if random.random() < 0.3:
            del labels[random.choice(HEADS)]
        rows.append(replace(row, labels=labels))
    return rows


def chances(labels: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(abs(label) / 10 for label in labels)


def say(batch) -> RewardOutput:
    """What stands for a model: numbers that depend on each passage alone."""
    ids = batch.prompt_ids * batch.prompt_mask
    sums = torch.stack([ids.sum(1), (ids**2).sum(1)], 1).double() / 100
    means = sums.sin()[batch.prompt_index[batch.passage]]
    return RewardOutput(means, means.cos())


def step(objective: RewardObjective, rows: list[Contest], learners: int, sizes: BatchSizes):
    """(loss, metrics) of all ranks, and each rank's batches."""
    total, metrics, dealt = 0.0, Metrics(), []
    for learner in range(learners):
        batches = objective.cut(rows, Rank(learner, learners), sizes, None)
        dealt.append(batches)
        for batch in batches:
            loss, numbers = objective.loss(say(batch), batch)
            total += float(loss)
            metrics.merge(numbers)
    return total, metrics.result(), dealt


def naive(options: LossOptions, rows: list[Contest]) -> float:
    """The mean over heads of the mean over contests that teach, of the mean over a contest's terms: one at a time."""
    heads = []
    for head in HEADS:
        means = []
        for row in rows:
            labels = row.labels.get(head, ())
            if not options.teaches(labels):
                continue
            alone = replace(row, labels={head: labels})
            (batch,) = RewardObjective(HEADS, options).cut([alone], Rank(0, 1), BatchSizes(1, 1, 1000, 1))
            scores = say(batch)
            loss, _ = RewardObjective(HEADS, options).loss(scores, batch)
            means.append(float(loss) * len(HEADS))
        heads.append(sum(means) / max(1, len(means)))
    return sum(heads) / len(HEADS)


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 9),
    learners=st.integers(1, 4),
    sizes=st.tuples(st.integers(1, 4), st.sampled_from([20, 60, 200])),
    loss=st.sampled_from([*LOSSES]),
)
@settings(max_examples=35)
def test_a_step_means_the_same_however_it_is_cut(
    seed: int, count: int, learners: int, sizes: tuple[int, int], loss: str
) -> None:
    rows, options = made(Random(seed), count), LossOptions(loss)
    if loss == "cross_entropy":
        rows = [replace(row, labels={head: chances(labels) for head, labels in row.labels.items()}) for row in rows]
    objective = RewardObjective(HEADS, options)
    whole, numbers, _ = step(objective, rows, 1, BatchSizes(count, 100, 100_000, 1))
    assert whole == pytest.approx(naive(options, rows), abs=1e-9)
    total, metrics, dealt = step(objective, rows, learners, BatchSizes(count, sizes[0], sizes[1], 1))
    assert total == pytest.approx(whole, abs=1e-9)
    assert metrics == pytest.approx(numbers, abs=1e-9)
    assert len({len(batches) for batches in dealt}) == 1
    everyone = [batch for batches in dealt for batch in batches]
    read = sorted(
        tuple(ids[mask].tolist())
        for batch in everyone
        if batch.work
        for ids, mask in zip(batch.prompt_ids[batch.prompt_index], batch.prompt_mask[batch.prompt_index], strict=True)
    )
    assert read == sorted(passage.token_ids for row in rows for passage in row.passages)
    for batch in everyone:
        contests, tokens = len(batch.contest_weights), batch.prompt_ids.numel()
        assert contests == 1 or (contests <= sizes[0] and tokens <= sizes[1])
    assert sum(batch.share for batch in everyone) == pytest.approx(1)


def test_contests_count_the_same_and_pairs_within_one_too() -> None:
    """By hand: the mean over two contests of the means over their three pairs and their one."""
    many = Contest("many", tuple(Passage((token,)) for token in (2, 3, 4)), {"score": (2.0, 1.0, 0.0)})
    few = Contest("few", (Passage((5,)), Passage((6,))), {"score": (0.0, 1.0)})
    (batch,) = RewardObjective().cut([many, few], Rank(0, 1), BatchSizes(2, 2, 100, 1))
    rewards = {2: 0.5, 3: 1.0, 4: -2.0, 5: 0.25, 6: 0.75}
    read = batch.prompt_ids[batch.prompt_index[batch.passage], -1].tolist()
    output = RewardOutput(torch.tensor([rewards[token] for token in read], dtype=torch.float64)[:, None])

    def cost(better: int, worse: int) -> float:
        return log(1 + exp(rewards[worse] - rewards[better]))

    expected = ((cost(2, 3) + cost(3, 4) + cost(2, 4)) / 3 + cost(6, 5)) / 2
    assert float(RewardObjective().loss(output, batch)[0]) == pytest.approx(expected, rel=1e-12)


def test_work_is_dealt_evenly_over_ranks() -> None:
    random = Random(1)
    rows = []
    for number in range(40):
        longest = 200 if number < 4 else 20
        answers = tuple(a_passage(random, good=1, length=random.randrange(longest // 2, longest)) for _ in range(2))
        rows.append(Contest(f"row:{number}", answers, {"helpful": (1.0, 0.0)}))
    sizes = BatchSizes(40, 4, 2000, 1)
    works = [sum(batch.work for batch in step(RewardObjective(HEADS), rows, 4, sizes)[2][rank]) for rank in range(4)]
    assert max(works) < 1.1 * sum(works) / 4


def test_a_pair_counts_as_right_only_if_strictly_greater() -> None:
    one, other, third = (Passage((token,)) for token in (2, 3, 4))
    row = Contest("row", (one, other, third), {"score": (2.0, 1.0, 1.0)})
    objective = RewardObjective()
    (batch,) = objective.cut([row], Rank(0, 1), BatchSizes(1, 1, 100, 1))

    def measured(*rewards: float) -> dict[str, float]:
        return objective.measure(RewardOutput(torch.tensor(rewards)[:, None]), batch).result()

    found = measured(0.5, 0.5, 0.1)
    assert (found["rm/accuracy"], found["rm/undecided_share"]) == (0.5, 0.5)
    assert found["rm/tie_share"] == pytest.approx(1 / 3)
    assert found["rm/margin"] == pytest.approx(0.2)
    assert found["rm/chosen_reward"] == pytest.approx(0.5)
    assert found["rm/rejected_reward"] == pytest.approx(0.3)
    assert measured(0.5, 0.4, 0.6)["rm/accuracy"] == 0.5
    assert measured(0.0, 0.0, 0.0)["rm/accuracy"] == 0.0


def test_labels_that_are_not_one_for_each_answer_are_refused() -> None:
    row = Contest("train.jsonl:3", (Passage((1,)), Passage((2,))), {"score": (1.0,)})
    with pytest.raises(ValueError, match=r"train\.jsonl:3: 1 labels of score for 2 answers"):
        RewardObjective().cut([row], Rank(0, 1), BatchSizes(1, 1, 100, 1))


def test_a_rank_without_contests_computes_something_and_counts_nothing() -> None:
    rows = made(Random(0), 1)
    batches = [RewardObjective(HEADS).cut(rows, Rank(rank, 3), BatchSizes(1, 1, 100, 1)) for rank in range(3)]
    (empty,) = next(part for part in batches if not part[0].work)
    loss, metrics = RewardObjective(HEADS).loss(say(empty), empty)
    assert float(loss) == 0.0
    assert metrics.result() == {}
