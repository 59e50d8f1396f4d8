"""MuChoMusic (Weck et al. 2024, arXiv 2408.01337): questions on music, in any of the forms they are handed round in."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from lightrft_strategy.data.formats.choices import checked_choices, choice_row, right_choice
from lightrft_strategy.data.formats.fields import field_of, text_of
from lightrft_strategy.data.mixture import permutation
from lightrft_strategy.data.rejected import RowError

_DISTRACTORS = ("distractor_1_answer", "distractor_2_answer", "distractor_3_answer")


def muchomusic(content: Mapping[str, Any]) -> dict[str, Any]:
    """audio_path or audio beside one of: question, choices (or options) and answer, by number from 0, text or letter;
    the benchmark's JSON: prompt, answers, and answer_orders, which has 0 where the right one is; its CSV: question,
    correct_answer and three distractors, whose order is shuffled by the question.

    Raises RowError for a row of another form.
    """
    _, audio = field_of(content, "audio_path", "audio")
    if content.get("answer_orders") is not None:
        choices = checked_choices(*field_of(content, "answers"))
        asked, answer = _asked(text_of(content, "prompt")), _first(content["answer_orders"], choices)
        return choice_row(asked, choices, answer, audios=audio)
    question = text_of(content, "question")
    if content.get("correct_answer") is not None:
        choices, answer = _shuffled(question, [text_of(content, name) for name in ("correct_answer", *_DISTRACTORS)])
        return choice_row(question, choices, answer, audios=audio)
    choices = checked_choices(*field_of(content, "choices", "options"))
    answer = right_choice("answer", content.get("answer"), choices)
    return choice_row(question, choices, answer, audios=audio)


def _asked(prompt: str) -> str:
    """The question alone of `Question: ... Options: (A) ... The correct answer is:`."""
    question, options, _ = prompt.partition("Options:")
    question = question.strip().removeprefix("Question:").strip()
    if not options or not question:
        raise RowError('its "prompt" is not of the form "Question: ... Options: ..."')
    return question


def _first(orders: Any, choices: list[str]) -> int:
    if not isinstance(orders, list) or sorted(map(str, orders)) != sorted(map(str, range(len(choices)))):
        raise RowError(f'its "answer_orders" does not number its {len(choices)} answers from 0')
    return [str(order) for order in orders].index("0")


def _shuffled(question: str, choices: list[str]) -> tuple[list[str], int]:
    """The choices, the right one first, in an order that follows from the question; and where that one is then."""
    key = int.from_bytes(blake2b(question.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    order = [int(place) for place in permutation(len(choices), key)]
    return [choices[place] for place in order], order.index(0)
