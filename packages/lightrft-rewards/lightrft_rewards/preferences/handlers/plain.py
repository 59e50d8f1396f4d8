"""Plain preference rows: a better answer and a worse one, several that are ranked, or one with a grade."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias

from lightrft_rewards.preferences.answers import answered, question_of
from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.preferences.handler import Handler, Place, row_by_row
from lightrft_rewards.preferences.keys import PreferenceKeys
from lightrft_rewards.preferences.values import has, items_of, number, number_of
from lightrft_strategy.data.formats.fields import text_of
from lightrft_strategy.data.parts import described, keys_of
from lightrft_strategy.data.rejected import RowError

Labels: TypeAlias = dict[str, tuple[float, ...]]


def plain(keys: PreferenceKeys) -> Handler:
    """Rows under these keys."""
    return row_by_row(partial(plain_row, keys=keys))


def plain_row(content: Mapping[str, Any], place: Place, *, keys: PreferenceKeys) -> Comparison:
    """One of three forms, whichever the row has:

    chosen and rejected: labels of the head score are 1 and 0; with a margin that and 0; with the scores of both these.
    answers with scores or ranks (1 is the best). response with a score. In each, labels {head: numbers (of one response
    a number)} are heads of their own, beside or instead of the scores. A written judgement of answers, reasoning, is
    kept to be learnt; it speaks of places, and cannot stand beside chosen and rejected, of which the first always wins.

    An answer is text, a part such as {"type": "image", "image": path}, a list of parts, or a conversation that it ends:
    a list of messages, or text in turns that begin with "\\n\\nHuman:" and "\\n\\nAssistant:". Conversations bring the
    question along where the row has no prompt; they must agree in all before their last answer.
    Raises RowError for a row of another form, or with scores that say otherwise than chosen and rejected.
    """
    names = (keys.chosen, keys.rejected)
    missing = [name for name in names if content.get(name) is None]
    reasoning = ""
    if len(missing) < 2:
        if missing:
            raise RowError(f'has no "{missing[0]}" (it has {keys_of(content)})')
        if has(content, keys.reasoning):
            raise RowError(
                f'has a written judgement, "{keys.reasoning}", of "{keys.chosen}" and "{keys.rejected}", of which the '
                f'first is always better: write them as "{keys.answers}" in any order, with "{keys.scores}"'
            )
        given, labels = [answered(content[name], name) for name in names], _of_pair(content, keys)
    elif has(content, keys.answers):
        items = items_of(content, keys.answers)
        given = [answered(item, f"{keys.answers}[{place}]") for place, item in enumerate(items)]
        labels = _of_several(content, keys, len(given))
        reasoning = text_of(content, keys.reasoning).strip() if has(content, keys.reasoning) else ""
    elif has(content, keys.response):
        given, labels = [answered(content[keys.response], keys.response)], _of_one(content, keys)
    else:
        raise RowError(
            f'has neither "{keys.chosen}" and "{keys.rejected}" nor "{keys.answers}" nor "{keys.response}" '
            f"(it has {keys_of(content)})"
        )
    question = question_of(content, keys.of_question, given)
    answers = tuple(each.answer for each in given)
    return Comparison(place.uid, question, answers, labels, reasoning=reasoning, root=place.root(""))


def _of_pair(content: Mapping[str, Any], keys: PreferenceKeys) -> Labels:
    scored = [has(content, name) for name in (keys.chosen_score, keys.rejected_score)]
    if all(scored):
        numbers = number_of(content, keys.chosen_score), number_of(content, keys.rejected_score)
        if numbers[0] < numbers[1]:
            raise RowError(f'its "{keys.chosen}" has a lower score than its "{keys.rejected}": {numbers}')
    elif has(content, keys.margin):
        numbers = number_of(content, keys.margin), 0.0
        if numbers[0] < 0:
            raise RowError(f'its "{keys.margin}" is {numbers[0]:g}: below 0, the worse answer would be better')
    else:
        numbers = 1.0, 0.0
    return {"score": numbers} | _heads(content, keys, 2)


def _of_several(content: Mapping[str, Any], keys: PreferenceKeys, count: int) -> Labels:
    if count < 2:
        raise RowError(f'its "{keys.answers}" are {count}: several are ranked; one is a "{keys.response}"')
    if has(content, keys.scores):
        scores: Labels = {"score": _numbers(content[keys.scores], keys.scores, count)}
    elif has(content, keys.ranks):
        scores = {"score": tuple(-rank for rank in _numbers(content[keys.ranks], keys.ranks, count))}
    else:
        scores = {}
    return _some(scores | _heads(content, keys, count), f'"{keys.scores}", "{keys.ranks}" or "{keys.labels}"')


def _of_one(content: Mapping[str, Any], keys: PreferenceKeys) -> Labels:
    scores: Labels = {"score": (number_of(content, keys.score),)} if has(content, keys.score) else {}
    return _some(scores | _heads(content, keys, 1), f'"{keys.score}" or "{keys.labels}"')


def _heads(content: Mapping[str, Any], keys: PreferenceKeys, count: int) -> Labels:
    labels = content.get(keys.labels)
    if labels is None or labels == "":
        return {}
    if not isinstance(labels, Mapping):
        raise RowError(f'its "{keys.labels}" is {described(labels)}, not an object with numbers by what they judge')
    of = {str(head): value for head, value in labels.items() if value is not None}
    return {
        head: _numbers([value] if count == 1 and not _several(value) else value, head, count)
        for head, value in of.items()
    }


def _several(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _numbers(values: Any, name: str, count: int) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or len(values) != count:
        raise RowError(f'its "{name}" is not a list of {count} numbers, one for each answer')
    return tuple(number(value, name) for value in values)


def _some(labels: Labels, names: str) -> Labels:
    if not labels:
        raise RowError(f"has an answer, but nothing that was thought of it: no {names}")
    return labels
