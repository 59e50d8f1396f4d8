"""A judge asked about comparisons, greedily and in both orders: what it said beside what people said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lightrft_core import Engine, Group, Prompt, SamplingParams
from lightrft_rewards.evaluation.judged import Asking, JudgedComparison
from lightrft_rewards.models.judges.form import JudgeForm
from lightrft_rewards.models.judges.questions import Question, questions_of
from lightrft_rewards.models.judges.writing import JudgeWriter
from lightrft_rewards.preferences.comparison import Answer, Comparison
from lightrft_rewards.rules.judgement import TIE, grade_of, verdict_of
from lightrft_strategy.data.rejected import Rejected, RowError


@dataclass(frozen=True)
class JudgedByAsking:
    """judged: comparisons of two answers with what was said of each order, or with grades. rejected: those that could
    not be asked about."""

    judged: list[JudgedComparison] = field(default_factory=list[JudgedComparison])
    rejected: list[Rejected] = field(default_factory=list[Rejected])


def greedy(form: JudgeForm) -> SamplingParams:
    """The likeliest judgement, token by token."""
    return SamplingParams(temperature=0.0, max_new_tokens=form.generate_max_len)


def judge_comparisons(
    engine: Engine,
    writer: JudgeWriter,
    comparisons: Sequence[Comparison],
    *,
    both_orders: bool = True,
    sampling: SamplingParams | None = None,
    step: int = 0,
) -> JudgedByAsking:
    """Ask about every pair of answers of each comparison (pointwise: every answer), in each of the form's heads.

    both_orders: each pair once in either order, so that a judge that goes by places is found out.
    sampling: one judgement a question; None: greedily.
    A judgement that cannot be read is an Asking with an error, and a comparison with such a judgement has one, too: a
    judge is not better for what it could not say.
    """
    found, form = JudgedByAsking(), writer.form
    topics: list[tuple[Comparison, list[tuple[Question, Prompt]]]] = []
    for comparison in comparisons:
        try:
            asked = questions_of(comparison, form, both_orders=both_orders)
            written = [(question, writer.prompt(question)) for question in asked]
        except RowError as error:
            found.rejected.append(rejected(comparison, str(error)))
            continue
        topics += [(comparison, topic) for topic in _topics(written, form)]
    prompts = [prompt for _, topic in topics for _, prompt in topic]
    answers = iter(engine.generate(prompts, sampling or greedy(form), step=step) if prompts else [])
    for comparison, topic in topics:
        said = [next(answers) for _ in topic]
        questions = [question for question, _ in topic]
        judge = _compared if form.pairwise else _graded
        found.judged.append(judge(comparison, questions, said, form))
    return found


def rejected(comparison: Comparison, reason: str) -> Rejected:
    """A comparison that no judge can be asked about."""
    name, _, row = comparison.uid.rpartition(":")
    shown = {"uid": comparison.uid, "asked": [turn.text for turn in comparison.asked]}
    return Rejected(name, int(row) if row.isdecimal() else 0, reason, shown)


def said_by(group: Group) -> str:
    """The judgement, or "" if the engine could give none."""
    return group.rollouts[0].text if group.rollouts else ""


def _topics(written: Sequence[tuple[Question, Prompt]], form: JudgeForm) -> list[list[tuple[Question, Prompt]]]:
    """Questions in whose judgements there is one result: of the same two answers, or of all of one comparison."""
    topics: dict[tuple[str, frozenset[int]], list[tuple[Question, Prompt]]] = {}
    for question, prompt in written:
        about = frozenset(question.places) if form.pairwise else frozenset[int]()
        topics.setdefault((question.head, about), []).append((question, prompt))
    return [*topics.values()]


def _compared(
    comparison: Comparison, questions: Sequence[Question], said: Sequence[Group], form: JudgeForm
) -> JudgedComparison:
    """places: of the two answers, in the order of the first question; askings call them 0 and 1."""
    places = questions[0].places
    askings = []
    for question, group in zip(questions, said, strict=True):
        first = places.index(question.places[0])
        verdict = verdict_of(said_by(group))
        if verdict is None:
            askings.append(Asking(first, error=_unreadable(group)))
        else:
            askings.append(Asking(first, None if verdict == TIE else first if verdict == 1 else 1 - first))
    failed = [asking.error for asking in askings if asking.error]
    wins = [sum(0.5 if each.chosen is None else float(each.chosen == place) for each in askings) for place in (0, 1)]
    return JudgedComparison(
        uid=comparison.uid if len(comparison.answers) == 2 else f"{comparison.uid}[{places[0] + 1},{places[1] + 1}]",
        head=questions[0].head,
        labels=tuple(comparison.labels[questions[0].head][place] for place in places),
        scores=() if failed else tuple(win / len(askings) for win in wins),
        source=comparison.source,
        lengths=_lengths([comparison.answers[place] for place in places]),
        askings=tuple(askings),
        error=failed[0] if failed else "",
    )


def _graded(
    comparison: Comparison, questions: Sequence[Question], said: Sequence[Group], form: JudgeForm
) -> JudgedComparison:
    grades = [grade_of(said_by(group), form.lowest, form.highest) for group in said]
    failed = [group for group, grade in zip(said, grades, strict=True) if grade is None]
    return JudgedComparison(
        uid=comparison.uid,
        head=questions[0].head,
        labels=comparison.labels[questions[0].head],
        scores=() if failed else tuple(grade for grade in grades if grade is not None),
        source=comparison.source,
        lengths=_lengths(comparison.answers),
        error=_unreadable(failed[0]) if failed else "",
    )


def _unreadable(group: Group) -> str:
    said = said_by(group)
    return f"the judgement cannot be read: {said[-200:]!r}" if said or not group.error else group.error


def _lengths(answers: Sequence[Answer]) -> tuple[int, ...]:
    """Characters of each; () where one is not text alone."""
    if not all(isinstance(piece, str) for answer in answers for piece in answer):
        return ()
    return tuple(sum(len(piece) for piece in answer if isinstance(piece, str)) for answer in answers)
