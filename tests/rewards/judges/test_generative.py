"""Generative judges as scorers: win rates among a prompt's answers, grades, and what goes wrong said by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_rewards.models.judges import GenerativeScorer, JudgeForm, JudgeWriter
from lightrft_rewards.notes import LIMIT
from lightrft_rewards.samples import Sample

from . import toys


def samples(worths: Sequence[int]) -> list[Sample]:
    """One prompt's answers, every one of other words."""
    words = [f"{toys.FILLERS[number % 8]} {toys.WORTH[worth]}" for number, worth in enumerate(worths)]
    return [Sample(text, prompt="a house", name=f"x, sample {n}") for n, text in enumerate(words)]


def scorer(tokenizer: Any, say: Any = toys.oracle, *, form: JudgeForm | None = None, **more: Any) -> GenerativeScorer:
    return GenerativeScorer(toys.Said(say), JudgeWriter(tokenizer, form=form), **more)


def test_against_all_others_the_score_is_the_share_of_wins(tokenizer: Any) -> None:
    worths = [0, 3, 3, 1, 4]
    (outcomes,) = scorer(tokenizer, opponents=4).score([samples(worths)])
    shares = [
        sum(1.0 if mine > other else 0.5 * (mine == other) for j, other in enumerate(worths) if j != i) / 4
        for i, mine in enumerate(worths)
    ]
    assert [outcome.score for outcome in outcomes] == shares == [0, 0.625, 0.625, 0.25, 1]
    assert [outcome.parts for outcome in outcomes] == [{"judge": share} for share in shares]
    assert [outcome.accuracy for outcome in outcomes] == shares
    assert outcomes[0].metrics == {"judge/unreadable_share": 0}


@settings(max_examples=20)
@given(st.integers(2, 8), st.integers(1, 9))
def test_every_answer_meets_equally_many_others_each_in_both_orders(tokenizer: Any, count: int, opponents: int) -> None:
    judge = scorer(tokenizer, opponents=opponents)
    judge.score([samples([0] * count)])
    meetings = Counter(prompt.text for prompt in judge.engine.prompts)  # type: ignore[attr-defined]
    assert set(meetings.values()) == {1}
    shown = [[text.split("# Answer ")[n].split("\n")[1] for n in (1, 2)] for text in meetings]
    assert all([second, first] in shown for first, second in shown)
    met = Counter(first for first, _ in shown)
    assert len(met) == count
    assert len(set(met.values())) == 1
    assert min(count - 1, opponents) <= met.most_common()[0][1] <= min(count - 1, opponents + 1)


def test_a_judge_that_goes_by_places_gives_everybody_the_same(tokenizer: Any) -> None:
    (outcomes,) = scorer(tokenizer, lambda text: "<answer>Answer 2 is better</answer>").score([samples([0, 1, 4])])
    assert [outcome.score for outcome in outcomes] == [0.5, 0.5, 0.5]


def test_calls_are_judged_by_themselves_and_answers_that_say_the_same_without_asking(tokenizer: Any) -> None:
    judge = scorer(tokenizer)
    twins = [Sample("red fair", prompt="a boat", name=f"twin {n}") for n in (1, 2)]
    first, second, nothing = judge.score([samples([4, 0]), twins, []])
    assert [outcome.score for outcome in first] == [1, 0]
    assert [outcome.score for outcome in second] == [0.5, 0.5]
    assert nothing == []
    assert len(judge.engine.prompts) == 2  # type: ignore[attr-defined]


def test_what_cannot_be_judged_has_an_error_and_no_score(tokenizer: Any) -> None:
    (lonely,) = scorer(tokenizer).score([samples([1])])[0]
    assert (lonely.score, lonely.error) == (None, "judge judge, x, sample 0: there is no answer to compare it with")
    (mute, _) = scorer(tokenizer, lambda text: "hm").score([samples([1, 2])])[0]
    assert (mute.score, "none of 2 judgements can be read" in mute.error) == (None, True)
    (broken, _) = scorer(tokenizer, lambda text: None, name="j").score([samples([1, 2])])[0]
    assert (broken.score, "judge j: " in broken.error, "too long" in broken.error) == (None, True, True)
    (unwritten, _) = scorer(tokenizer, form=JudgeForm(max_len=3)).score([samples([1, 2])])[0]
    assert "more than --max_len 3" in unwritten.error


def test_judgements_that_cannot_be_read_count_for_neither_side(tokenizer: Any) -> None:
    def only_first(text: str) -> str:
        said = toys.oracle(text)
        return said if "Answer 1 is" in said else "hm"

    low, high = scorer(tokenizer, only_first).score([samples([0, 4])])[0]
    assert (low.score, high.score) == (0, 1)
    assert low.metrics == high.metrics == {"judge/unreadable_share": 0.5}


def test_grades_are_scaled_to_a_share_and_averaged(tokenizer: Any) -> None:
    form, grades = JudgeForm(kind="pointwise", lowest=1, highest=5), iter(["2", "4", "odd"])
    judge = scorer(tokenizer, lambda text: f"<answer>{next(grades)}</answer>", form=form, samples=3, temperature=1.0)
    (outcome,) = judge.score([samples([0])])[0]
    assert outcome.score == 0.5
    assert outcome.metrics == {"judge/unreadable_share": 1 - 2 / 3}
    by_worth = scorer(tokenizer, form=form).score([samples([0, 1, 2, 3, 4])])[0]
    assert [outcome.score for outcome in by_worth] == [0, 0.25, 0.5, 0.75, 1]


def test_what_the_judge_wrote_is_a_note_and_says_as_which_answer_it_was_judged(tokenizer: Any) -> None:
    low, high = scorer(tokenizer).score([samples([0, 4])])[0]
    second, first = "<answer>Answer 2 is better</answer>", "<answer>Answer 1 is better</answer>"
    assert low.notes == {"judge": f"[as Answer 1] {second}\n\n[as Answer 2] {first}"}
    assert high.notes == {"judge": f"[as Answer 2] {second}\n\n[as Answer 1] {first}"}
    (graded,) = scorer(tokenizer, name="j", form=JudgeForm(kind="pointwise")).score([samples([2])])[0]
    assert graded.notes == {"j": "<answer>3</answer>"}
    (mute, _) = scorer(tokenizer, lambda text: "h" * 9000).score([samples([1, 2])])[0]
    assert mute.error
    assert len(mute.notes["judge"]) == LIMIT
    (never_asked,) = scorer(tokenizer).score([samples([1])])[0]
    assert never_asked.notes == {}


def test_the_same_answers_are_asked_about_by_the_same_key_whatever_else_is_judged(tokenizer: Any) -> None:
    one, other = scorer(tokenizer), scorer(tokenizer)
    one.score([samples([0, 4])])
    other.score([samples([2, 3, 1]), samples([0, 4])])
    mine, theirs = ({p.uid for p in judge.engine.prompts} for judge in (one, other))  # type: ignore[attr-defined]
    assert len(mine) == 2
    assert mine < theirs


def test_the_chat_and_its_media_are_part_of_the_question(tokenizer: Any) -> None:
    from .test_questions import Eyes, Seen

    engine = toys.Said(lambda text: "<answer>Answer 1 is better</answer>")
    judge = GenerativeScorer(engine, JudgeWriter(tokenizer, Eyes()))
    parts = [{"type": "image", "sha256": "k"}, {"type": "text", "text": "?"}]
    chat = ({"role": "user", "content": parts}, {"role": "assistant", "content": "!"}, {"role": "user", "content": "a"})
    call = [Sample(text, prompt="?", messages=chat, media=(Seen("image", "k"),)) for text in ("red", "blue")]
    assert [outcome.score for outcome in judge.score([call])[0]] == [0.5, 0.5]
    assert [medium.sha256 for medium in engine.prompts[0].media] == ["k"]


def test_the_fingerprint_changes_with_all_that_decides(tokenizer: Any) -> None:
    form = JudgeForm()
    judges = [
        scorer(tokenizer, form=form),
        scorer(tokenizer, form=replace(form, ties=False)),
        scorer(tokenizer, form=form, opponents=2),
        scorer(tokenizer, form=form, temperature=0.5),
        scorer(tokenizer, form=form, identity="other weights"),
    ]
    assert len({judge.fingerprint() for judge in judges}) == len(judges)
    assert judges[0].fingerprint() == scorer(tokenizer, form=form).fingerprint()


@pytest.mark.parametrize("kind", ["pairwise", "pointwise"])
def test_a_closed_judge_can_be_closed_again(tokenizer: Any, kind: str) -> None:
    judge = scorer(tokenizer, form=JudgeForm(kind=kind))
    judge.close()
    judge.close()
