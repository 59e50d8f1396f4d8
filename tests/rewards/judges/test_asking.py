"""Judges asked in both orders: what is right, what goes by places, what cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightrft_rewards.evaluation import measure
from lightrft_rewards.models.judges import JudgeForm, JudgeWriter, judge_comparisons
from lightrft_rewards.preferences import Comparison

from . import toys


@pytest.fixture
def pairs(tmp_path: Path) -> list[Comparison]:
    return toys.comparisons(tmp_path, 40, 3, ties=True)


def decided(comparison: Comparison) -> bool:
    return len(set(comparison.labels["score"])) > 1


def test_a_judge_that_knows_is_right_in_both_orders(tokenizer: Any, pairs: list[Comparison]) -> None:
    engine = toys.Said(toys.oracle)
    found = judge_comparisons(engine, JudgeWriter(tokenizer), pairs)
    assert found.rejected == []
    measured = measure(found.judged)
    assert measured.agreement.accuracy is not None
    assert measured.position is not None
    assert measured.agreement.accuracy.value == 1
    assert measured.agreement.accuracy.n == sum(map(decided, pairs)) < len(pairs)
    assert measured.three_way is not None
    assert measured.three_way.accuracy is not None
    assert measured.three_way.accuracy.value == 1, "of ties as well"
    position = measured.position
    assert (position.askings, position.failed, position.ties) == (80, 0, 2 * (40 - sum(map(decided, pairs))))
    assert position.consistent is not None
    assert position.consistent.value == 1
    assert len(engine.prompts) == len({prompt.uid for prompt in engine.prompts}) == 80


def test_a_judge_that_goes_by_places_is_found_out(tokenizer: Any, pairs: list[Comparison]) -> None:
    biased = toys.Said(lambda text: "<answer>Answer 1 is better</answer>")
    measured = measure(judge_comparisons(biased, JudgeWriter(tokenizer), pairs).judged)
    assert measured.agreement.accuracy is not None
    assert measured.position is not None
    assert measured.position.chooses_first is not None
    assert measured.position.consistent is not None
    assert measured.agreement.accuracy.value == 0, "both orders cancel out"
    assert measured.position.chooses_first.value == 1
    assert measured.position.consistent.value == 0
    once = measure(judge_comparisons(biased, JudgeWriter(tokenizer), pairs, both_orders=False).judged)
    assert once.agreement.accuracy is not None
    assert 0.2 < once.agreement.accuracy.value < 0.8, "in one order its accuracy is what chance makes of the sides"


def test_what_cannot_be_read_is_no_judgement_and_no_silent_loss(tokenizer: Any, pairs: list[Comparison]) -> None:
    def half(text: str) -> str | None:
        said = toys.oracle(text)
        return said if said.startswith("<answer>Answer 1") else "I would rather not say"

    found = judge_comparisons(toys.Said(half), JudgeWriter(tokenizer), pairs)
    assert all("cannot be read: 'I would rather not say'" in each.error and not each.scores for each in found.judged)
    sure = [each for each, pair in zip(found.judged, pairs, strict=True) if decided(pair)]
    assert all(sum(bool(asking.error) for asking in each.askings) == 1 for each in sure), "one order cannot be enough"
    measured = measure(found.judged)
    assert measured.agreement.accuracy is not None
    assert measured.agreement.accuracy.value == 0
    assert measured.agreement.accuracy.n == len(sure)
    broken = judge_comparisons(toys.Said(lambda text: None), JudgeWriter(tokenizer), pairs[:1]).judged[0]
    assert "too long" in broken.error


def test_questions_that_cannot_be_written_are_rejected_by_name(tokenizer: Any, pairs: list[Comparison]) -> None:
    writer = JudgeWriter(tokenizer, form=JudgeForm(max_len=5))
    found = judge_comparisons(toys.Said(toys.oracle), writer, pairs[:2])
    assert found.judged == []
    assert [(item.source, item.row) for item in found.rejected] == [("pairs_3.jsonl", 1), ("pairs_3.jsonl", 2)]
    assert "more than --max_len 5" in found.rejected[0].reason


def test_pairs_of_several_answers_are_told_apart_and_each_head_judged(tokenizer: Any) -> None:
    answers = tuple((f"red {worth}",) for worth in toys.WORTH[:3])
    labels = {"score": (0.0, 1.0, 2.0), "tone": (2.0, 1.0, 0.0)}
    comparison = Comparison("x:7", (), answers, labels, source="s")
    found = judge_comparisons(
        toys.Said(toys.oracle), JudgeWriter(tokenizer, form=JudgeForm(heads=("score", "tone"))), [comparison]
    )
    assert [(each.uid, each.head, each.labels, each.scores) for each in found.judged] == [
        (f"x:7[{places}]", head, pair, (0.0, 1.0))
        for head, pairs in {"score": [(0, 1), (0, 2), (1, 2)], "tone": [(2, 1), (2, 0), (1, 0)]}.items()
        for places, pair in zip(("1,2", "1,3", "2,3"), pairs, strict=True)
    ]
    assert {each.source for each in found.judged} == {"s"}
    assert found.judged[0].lengths == tuple(len(answer[0]) for answer in answers[:2])


def test_grades_are_the_scores_of_a_pointwise_judge(tokenizer: Any) -> None:
    answers = tuple((f"red {worth}",) for worth in toys.WORTH)
    comparison = Comparison("x:7", (), answers, {"score": (1.0, 2.0, 3.0, 4.0, 5.0)})
    writer = JudgeWriter(tokenizer, form=JudgeForm(kind="pointwise"))
    (judged,) = judge_comparisons(toys.Said(toys.oracle), writer, [comparison]).judged
    assert judged.scores == judged.labels
    (failed,) = judge_comparisons(toys.Said(lambda text: "<answer>9</answer>"), writer, [comparison]).judged
    assert "cannot be read" in failed.error
