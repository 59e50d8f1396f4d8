"""Rewards by name, weight and route."""

from __future__ import annotations

import pytest
import reasoning_gym

from lightrft_rewards import Outcome, RewardPool, RewardSetupError, Sample, Scoring, combine, parse_routes, parse_spec
from lightrft_rewards.rule_scoring import rule_scorer

RIGHT = "<think>3+4</think><answer>7</answer>"


def judge(rules: str | dict[str, str], sample: Sample) -> Outcome:
    return rule_scorer(parse_routes(rules))([sample])[0]


def test_weights_are_read_and_default_to_one() -> None:
    assert parse_spec("number:0.5, format , gsm8k:-2").weights == {"number": 0.5, "format": 1.0, "gsm8k": -2.0}


def test_a_spec_prints_in_the_form_it_is_read_in() -> None:
    spec = parse_spec("number:0.1,format:1e-3")
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nunber:1", "there is no rule 'nunber'; did you mean number"),
        ("zzz", "there is no rule 'zzz'; known rules: boxed, boxed_format, code, code_share, format, geo3k, gsm8k"),
        ("number:one", "the weight 'one'"),
        ("number:nan", "the weight 'nan'"),
        ("number:", "the weight ''"),
        ("number,", "has an empty part"),
        ("", "has an empty part"),
        ("number:1,number:2", "names the rule number twice"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(RewardSetupError, match=message):
        parse_spec(text)


def test_a_wrong_spec_in_a_route_names_the_route() -> None:
    with pytest.raises(RewardSetupError, match="route 'maths': there is no rule"):
        parse_routes({"": "number", "maths": "boxd"})


def test_no_reward_at_all_is_refused() -> None:
    with pytest.raises(RewardSetupError, match="no reward is given"):
        parse_routes({})


def test_the_score_is_the_weighted_sum_and_the_parts_are_raw() -> None:
    outcome = judge("number:2,format:0.5", Sample(RIGHT, 7))
    assert outcome == Outcome(score=2.5, accuracy=1.0, parts={"number": 1.0, "format": 1.0})


def test_accuracy_is_the_mean_of_the_parts_that_measure_it() -> None:
    outcome = judge("number:2,gsm8k:1,format:0.5", Sample("7", 7))
    assert (outcome.score, outcome.accuracy) == (2.0, 0.5)


@pytest.mark.parametrize(("weight", "accuracy"), [("0.3", 0.3), ("5", 1.0), ("-5", 0.0)])
def test_accuracy_without_a_part_that_measures_it_is_the_clipped_score(weight: str, accuracy: float) -> None:
    assert combine(parse_spec(f"format:{weight}"), {"format": 1.0}, set()).accuracy == accuracy


def test_each_sample_is_judged_by_the_rewards_of_its_route() -> None:
    rules = {"": "number", "shape": "format:3"}
    assert judge(rules, Sample(RIGHT, 7)).parts == {"number": 1.0}
    assert judge(rules, Sample(RIGHT, None, route="shape")).parts == {"format": 1.0}


def test_a_route_without_rewards_is_an_error_that_names_the_known_ones() -> None:
    outcome = judge({"": "number", "shape": "format"}, Sample(RIGHT, 7, route="sheep", name="a.jsonl:3, sample 1"))
    assert outcome.score is None
    assert outcome.error == (
        "a.jsonl:3, sample 1 has the route 'sheep', which has no reward; known routes: \"\" (the default), 'shape'"
    )


def test_a_route_named_like_a_rule_of_the_default_reward_is_judged_by_it() -> None:
    rules = {"": "number:2,format", "format": "format:3"}
    sample = Sample(RIGHT, 7, route="number")
    assert judge(rules, sample).score == 3.0
    assert Scoring(routes=parse_routes(rules)).name_for(sample) == "the reward number:2.0,format:1.0"
    assert judge(rules, Sample(RIGHT, 7, route="format")).score == 3.0, "a route's own reward goes first"
    assert "which has no reward" in judge(rules, Sample(RIGHT, 7, route="gsm8k")).error
    assert "which has no reward" in judge({"shape": "number"}, Sample(RIGHT, 7, route="number")).error


def test_reasoning_gym_rows_need_no_route_of_their_own() -> None:
    entry = reasoning_gym.create_dataset("chain_sum", size=1, seed=1)[0]
    sample = Sample(entry["answer"], {"task": "chain_sum", "entry": entry}, route="reasoning_gym")
    assert judge("reasoning_gym", sample).score == 1.0


def test_a_missing_label_is_an_error_and_not_a_zero() -> None:
    outcome = judge("format,number", Sample(RIGHT, None, name="a.jsonl:3, sample 1"))
    assert outcome.score is None
    assert outcome.accuracy is None
    assert outcome.error.startswith("a.jsonl:3, sample 1: rule number needs a number as its label")


def test_rules_and_a_function_together_are_refused() -> None:
    with pytest.raises(RewardSetupError, match=r"both rules and the function reward\.py:score are given; take one"):
        Scoring(routes=parse_routes("number"), function="reward.py:score")


def test_neither_rules_nor_a_function_is_refused() -> None:
    with pytest.raises(RewardSetupError, match="no reward is given"):
        Scoring()


def test_a_pool_judges_by_route_and_keeps_the_order() -> None:
    calls = [[Sample(str(i), i % 3, route="" if i % 2 else "shape") for i in range(5)] for _ in range(3)]
    with RewardPool(Scoring(routes=parse_routes({"": "number", "shape": "format"})), num_workers=2) as pool:
        outcomes = pool.score(calls)
        assert pool.score([]) == []
        assert pool.score([[], []]) == [[], []]
    assert [[outcome.parts for outcome in call] for call in outcomes] == [
        [{"format": 0.0}, {"number": 1.0}, {"format": 0.0}, {"number": 0.0}, {"format": 0.0}]
    ] * 3
