"""What a judge is asked of a comparison, and what it ought to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from lightrft_rewards.models.judges.form import JudgeForm
from lightrft_rewards.preferences.comparison import Answer, Comparison
from lightrft_rewards.rules.judgement import TIE, verdict_of
from lightrft_strategy.data.parts import Medium, Piece, Turn, joined
from lightrft_strategy.data.rejected import RowError

_SCORE = "score"
"""The head that means better, and no more than that."""
_ROLES = {"user": "User", "assistant": "Assistant", "system": "System"}


@dataclass(frozen=True)
class Question:
    """One question to a judge.

    uid: of the comparison, with what tells it from the comparison's other questions.
    turn: all of it, as the user's message. root: the folder its media lie in.
    places: which of the comparison's answers are shown, in the order in which they are.
    head, source: what is judged; where it comes from.
    label: what the rule `judgement` compares the judgement with; None where people's is not known.
    target: a judgement that says so, to be learnt; "" where there is none, as of a judge that thinks, whose thoughts
        nobody wrote down.
    """

    uid: str
    turn: Turn
    places: tuple[int, ...]
    head: str
    source: str = ""
    root: Path | None = None
    label: Any = None
    target: str = ""


def questions_of(comparison: Comparison, form: JudgeForm, *, both_orders: bool) -> list[Question]:
    """All that is asked of a comparison, for each of the form's heads that it has labels of.

    Of two answers or more every pair, in the order in which they stand and with both_orders the other way round, too;
    pointwise every answer. Ties are left out where the form knows none.
    Raises RowError if it has no such label, one answer where two are compared, nothing but ties where the form knows
    none, a grade outside of the form's, or a written judgement that says otherwise than the label.
    """
    heads = [head for head in form.heads if head in comparison.labels]
    if not heads:
        raise RowError(f"has no label of {', '.join(form.heads)}: its heads are {', '.join(comparison.labels)}")
    asked: list[Question] = []
    for head in heads:
        named = f"/{head}" if len(form.heads) > 1 else ""
        if not form.pairwise:
            count = len(comparison.answers)
            asked += [graded(comparison, place, head, form, f"{comparison.uid}{named}") for place in range(count)]
            continue
        if len(comparison.answers) < 2:
            raise RowError("has one answer alone, and two are compared")
        numbers = comparison.labels[head]
        for first, second in combinations(range(len(comparison.answers)), 2):
            if numbers[first] == numbers[second] and not form.ties:
                continue
            asked.append(compared(comparison, (first, second), head, form, f"{comparison.uid}{named}"))
            if both_orders:
                asked.append(compared(comparison, (second, first), head, form, f"{comparison.uid}{named}"))
    if not asked:
        raise RowError("is a tie, of which the judge knows nothing")
    return asked


def compared(
    comparison: Comparison, places: tuple[int, int], head: str, form: JudgeForm, uid: str | None = None
) -> Question:
    """Which of two of its answers is better, shown in this order. uid: with the places behind it; None: its own.

    Raises RowError for a written judgement that says otherwise than the label.
    """
    answers = [comparison.answers[place] for place in places]
    noun = _noun(answers)
    pieces = [
        f"Two {noun.lower()}s for one request are to be compared{_criterion(comparison, head)}.\n",
        *_asked(comparison.asked),
        *(
            piece
            for number, answer in enumerate(answers, start=1)
            for piece in (f"\n# {noun} {number}\n", *answer, "\n")
        ),
        "\nWhich one is better? "
        + ("Think about it between <think> and </think>, then end" if form.reasoning else "End"),
        " with one of:\n" + "\n".join(f"<answer>{said}</answer>" for said in _sayings(noun, form)),
    ]
    question = Question(
        f"{uid or comparison.uid}[{places[0] + 1},{places[1] + 1}]",
        Turn("user", joined(tuple(pieces))),
        places,
        head,
        comparison.source,
        comparison.root,
    )
    numbers = comparison.labels.get(head)
    if numbers is None:
        return question
    first, second = (numbers[place] for place in places)
    verdict = TIE if first == second else 1 if first > second else 2
    target = _target(comparison, places, form, f"<answer>{_saying(noun, verdict)}</answer>")
    if form.reasoning and target and verdict_of(target) != verdict:
        raise RowError(f"has a written judgement that says otherwise than its label of {head}")
    return replace(question, label={"verdict": verdict}, target=target)


def graded(comparison: Comparison, place: int, head: str, form: JudgeForm, uid: str | None = None) -> Question:
    """How good one of its answers is. Raises RowError for a grade outside of the form's."""
    answer = comparison.answers[place]
    noun = _noun([answer])
    pieces = [
        f"{_article(noun)} {noun.lower()} for a request is to be graded{_criterion(comparison, head)}.\n",
        *_asked(comparison.asked),
        *(f"\n# {noun}\n", *answer, "\n"),
        "\nHow good is it? " + ("Think about it between <think> and </think>, then end" if form.reasoning else "End"),
        f" with a grade from {form.lowest:g} (worst) to {form.highest:g} (best), such as ",
        f"<answer>{(form.lowest + form.highest) / 2:g}</answer>.",
    ]
    question = Question(
        f"{uid or comparison.uid}[{place + 1}]",
        Turn("user", joined(tuple(pieces))),
        (place,),
        head,
        comparison.source,
        comparison.root,
    )
    numbers = comparison.labels.get(head)
    if numbers is None:
        return question
    grade = numbers[place]
    if not form.lowest <= grade <= form.highest:
        raise RowError(f"has the grade {grade:g}, which is not from {form.lowest:g} to {form.highest:g}")
    label = {"grade": grade, "lowest": form.lowest, "highest": form.highest}
    return replace(question, label=label, target=_target(comparison, (place,), form, f"<answer>{grade:g}</answer>"))


def _target(comparison: Comparison, places: tuple[int, ...], form: JudgeForm, answer: str) -> str:
    if not form.reasoning:
        return answer
    return comparison.reasoning if places == tuple(range(len(comparison.answers))) else ""


def _asked(turns: Sequence[Turn]) -> Iterator[Piece]:
    """The request: of a single message what it says, else who says what."""
    if not turns:
        return
    yield "\n# Request\n"
    if len(turns) == 1:
        yield from (*turns[0].pieces, "\n")
        return
    for turn in turns:
        yield from (f"{_ROLES.get(turn.role, turn.role)}: ", *turn.pieces, "\n")


def _criterion(comparison: Comparison, head: str) -> str:
    wanted = [text for text in (comparison.criterion, "" if head == _SCORE else head) if text]
    return f" by this alone: {'; '.join(wanted)}" if wanted else ""


def _noun(answers: Sequence[Answer]) -> str:
    """What answers are called: by their modality, where each is one medium of the same."""
    alone = {answer[0].modality if len(answer) == 1 and isinstance(answer[0], Medium) else "" for answer in answers}
    return (
        {"image": "Image", "video": "Video", "audio": "Audio"}.get(alone.pop(), "Answer")
        if len(alone) == 1
        else "Answer"
    )


def _article(noun: str) -> str:
    return "A" if noun == "Video" else "An"


def _saying(noun: str, verdict: int) -> str:
    return "Both are equally good" if verdict == TIE else f"{noun} {verdict} is better"


def _sayings(noun: str, form: JudgeForm) -> list[str]:
    return [_saying(noun, verdict) for verdict in ((1, 2, TIE) if form.ties else (1, 2))]
