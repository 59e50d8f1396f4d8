"""Several judges as one: who is asked about what, how parts are added up, what gates and failures do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

import pytest

from lightrft_rewards import Outcome, RewardPool, RewardSetupError, Sample, Scoring, parse_routes
from lightrft_rewards.gates import Gate, parse_gates
from lightrft_rewards.panel import RULES, Panel

Says = Callable[[Sample], Outcome]


class Stub:
    """A scorer that says what it is told to, and remembers what it was asked."""

    def __init__(self, says: Says, version: str = "1") -> None:
        self.says, self.version, self.asked, self.closed = says, version, list[list[list[str]]](), 0

    def score(self, calls: Sequence[Sequence[Sample]]) -> list[list[Outcome]]:
        self.asked.append([[sample.response for sample in call] for call in calls])
        return [[self.says(sample) for sample in call] for call in calls]

    def fingerprint(self) -> str:
        return self.version

    def describe(self, sample: Sample) -> str:
        return f"stub on {sample.name}"

    def close(self) -> None:
        self.closed += 1


def constant(**parts: float) -> Says:
    return lambda sample: Outcome(score=sum(parts.values()), parts=parts)


def rules(spec: str) -> RewardPool:
    return RewardPool(Scoring(parse_routes(spec)), num_workers=1)


def test_parts_of_rules_and_models_are_added_up_by_weight_and_accuracy_is_that_of_the_rules() -> None:
    routes = parse_routes("number:0,rm:2,two.safe:0.5", models={"rm", "two"})
    panel = Panel(
        {
            RULES: rules("number"),
            "rm": Stub(constant(rm=1.5)),
            "two": Stub(constant(**{"two.safe": -1, "two.good": 9})),
        },
        routes,
    )
    try:
        [[right, wrong]] = panel.score([[Sample("7", label=7), Sample("8", label=7)]])
    finally:
        panel.close()
    assert (right.score, right.accuracy) == (2.5, 1.0)
    assert (wrong.score, wrong.accuracy) == (2.5, 0.0)
    assert right.parts == {"number": 1.0, "rm": 1.5, "two.safe": -1.0}
    assert {"rules/seconds", "rm/seconds", "two/seconds"} <= right.metrics.keys()
    assert right.metrics["rm/failed"] == 0


def test_each_scorer_is_asked_about_the_samples_of_its_routes_alone_prompt_by_prompt() -> None:
    one, other = Stub(constant(one=1)), Stub(constant(other=2))
    panel = Panel({"one": one, "other": other}, parse_routes({"": "one", "x": "one,other"}, models={"one", "other"}))
    outcomes = panel.score([[Sample("a"), Sample("b")], [Sample("c", route="x")], [Sample("d", route="y")]])
    assert one.asked == [[["a", "b"], ["c"]]]
    assert other.asked == [[["c"]]]
    assert [outcome.score for call in outcomes for outcome in call] == [1, 1, 3, None]
    assert "no reward; known routes" in outcomes[2][0].error


def test_a_failing_part_fails_its_sample_and_never_counts_as_zero() -> None:
    def says(sample: Sample) -> Outcome:
        return {"error": Outcome(error="broken"), "late": Outcome(timed_out=True)}.get(
            sample.response, Outcome(score=1, parts={"b": 1})
        )

    panel = Panel({"a": Stub(constant(a=1)), "b": Stub(says)}, parse_routes("a,b", models={"a", "b"}))
    [[error, late, fine]] = panel.score([[Sample("error"), Sample("late"), Sample("fine")]])
    assert (error.score, error.error, error.timed_out) == (None, "broken", False)
    assert (late.score, late.timed_out) == (None, True)
    assert error.metrics["b/failed"] == 1
    assert error.metrics["a/failed"] == 0
    assert fine.score == 2


def test_a_part_that_nobody_speaks_of_is_an_error() -> None:
    panel = Panel({"rm": Stub(constant(**{"rm.good": 1}))}, parse_routes("rm.safe", models={"rm"}))
    [[outcome]] = panel.score([[Sample("x", name="row 1")]])
    assert outcome.score is None
    assert outcome.error == "row 1: nothing was said of rm.safe"


@pytest.mark.parametrize(("safe", "expected"), [(-0.5, -1.0), (0.0, 5.0), (2.0, 5.0)])
def test_a_gate_caps_the_score_where_its_part_is_too_low_though_it_has_no_weight(safe: float, expected: float) -> None:
    stub = Stub(constant(**{"rm.good": 5.0, "rm.safe": safe}))
    panel = Panel({"rm": stub}, parse_routes("rm.good", models={"rm"}), gates=parse_gates("rm.safe>=0:-1"))
    [[outcome]] = panel.score([[Sample("x")]])
    assert outcome.score == expected
    assert outcome.parts == {"rm.good": 5.0, "rm.safe": safe}


def test_a_gate_never_raises_a_score() -> None:
    stub = Stub(constant(**{"rm.good": -7.0, "rm.safe": -1.0}))
    panel = Panel({"rm": stub}, parse_routes("rm.good", models={"rm"}), gates=[Gate("rm.safe", 0.0, -1.0)])
    assert panel.score([[Sample("x")]])[0][0].score == -7


@pytest.mark.parametrize("text", ["safe", "safe>=x:0", "safe>=0", "safe>=0:nan", "safe>=0:1,safe>=1:0", ""])
def test_gates_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(RewardSetupError, match="gate"):
        parse_gates(text)


def test_gates_are_read_as_they_are_written() -> None:
    assert ",".join(map(str, parse_gates("rm.safe>=0.5:-1, b>=-2:0"))) == "rm.safe>=0.5:-1.0,b>=-2.0:0.0"


def test_scorers_of_a_round_judge_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def meets(name: str) -> Says:
        def says(_: Sample) -> Outcome:
            meeting.wait()
            return Outcome(score=1, parts={name: 1})

        return says

    panel = Panel({"a": Stub(meets("a")), "b": Stub(meets("b"))}, parse_routes("a,b", models={"a", "b"}))
    assert panel.score([[Sample("x")]])[0][0].score == 2


def test_scorers_of_different_rounds_take_turns() -> None:
    running, most = 0, 0

    def says(name: str) -> Says:
        def judge(_: Sample) -> Outcome:
            nonlocal running, most
            running += 1
            most = max(most, running)
            time.sleep(0.02)
            running -= 1
            return Outcome(score=1, parts={name: 1})

        return judge

    def turns(names: Sequence[str]) -> Iterable[Sequence[str]]:
        return ([name] for name in names)

    scorers = {name: Stub(says(name)) for name in "ab"}
    panel = Panel(scorers, parse_routes("a,b", models={"a", "b"}), rounds=turns)
    assert panel.score([[Sample("x")]])[0][0].score == 2
    assert most == 1


def test_the_fingerprint_tells_scorers_weights_and_gates_apart() -> None:
    def panel(version: str = "1", spec: str = "rm", gates: str = "rm>=0:0") -> str:
        return Panel(
            {"rm": Stub(constant(rm=1), version)}, parse_routes(spec, models={"rm"}), gates=parse_gates(gates)
        ).fingerprint()

    assert panel() == panel()
    assert len({panel(), panel(version="2"), panel(spec="rm:2"), panel(gates="rm>=1:0")}) == 4


@pytest.mark.parametrize(
    ("spec", "by_rules"), [("number:0,rm", True), ("format,rm", False), ("rm", False), ("number,format:0.1,rm", True)]
)
def test_rules_that_know_what_is_right_measure_by_themselves(spec: str, by_rules: bool) -> None:
    judged = Stub(constant(number=1, format=1))
    panel = Panel({RULES: judged, "rm": Stub(constant(rm=1))}, parse_routes(spec, models={"rm"}))
    assert panel.measuring() is (judged if by_rules else panel)


def test_a_route_without_such_a_rule_needs_everybody() -> None:
    panel = Panel(
        {RULES: Stub(constant(number=1)), "rm": Stub(constant(rm=1))},
        parse_routes({"": "number,rm", "chat": "rm"}, models={"rm"}),
    )
    assert panel.measuring() is panel


def test_closing_a_panel_closes_everybody() -> None:
    stubs = {name: Stub(constant()) for name in "ab"}
    Panel(stubs, parse_routes("a", models={"a"})).close()
    assert [stub.closed for stub in stubs.values()] == [1, 1]


def test_a_spec_may_name_models_and_their_parts_and_nothing_else() -> None:
    spec = parse_routes("number:1,rm.safe:0.5", models={"rm"})[""]
    assert dict(spec.weights) == {"number": 1.0, "rm.safe": 0.5}
    with pytest.raises(RewardSetupError, match="did you mean helper"):
        parse_routes("halper", models={"helper"})


def test_steps_come_through_as_they_were_judged() -> None:
    steps = ((3, 0.5), (9, 0.25))
    scorers = {"rm": Stub(constant(rm=1.0)), "prm": Stub(lambda _: Outcome(0.25, parts={"prm": 0.25}, steps=steps))}
    panel = Panel(scorers, parse_routes("rm:1,prm:2", models={"rm", "prm"}))
    [[outcome]] = panel.score([[Sample("one. two.")]])
    panel.close()
    assert (outcome.score, outcome.steps) == (1.5, steps)


def test_what_judges_wrote_is_kept_of_all_also_where_one_of_them_failed() -> None:
    def said(sample: Sample) -> Outcome:
        return Outcome(1.0, parts={"rm": 1.0}, notes={"rm": f"liked {sample.response}"})

    def fails(sample: Sample) -> Outcome:
        ill = sample.response == "ill"
        return Outcome(error="broken", notes={"llm": "no"}) if ill else Outcome(2.0, parts={"llm": 2.0})

    panel = Panel({"rm": Stub(said), "llm": Stub(fails)}, parse_routes({"": "rm,llm"}, ("rm", "llm")))
    [[well, ill]] = panel.score([[Sample("well"), Sample("ill")]])
    panel.close()
    assert (well.score, well.notes) == (3.0, {"rm": "liked well"})
    assert (ill.score, ill.error, ill.notes) == (None, "broken", {"rm": "liked ill", "llm": "no"})
