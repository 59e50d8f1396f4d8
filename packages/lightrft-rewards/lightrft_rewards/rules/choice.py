"""Multiple choice: a letter or the text of a choice, read from what the response says in the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from lightrft_rewards.errors import LabelError
from lightrft_rewards.rules.boxed import last_box
from lightrft_rewards.rules.tags import spoken, tagged_answer

_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+|my\s+)?(?:(?:final|correct|right|best)\s+)?"
    r"(?:answer|option|choice)\b(?:\s+is\b)?\s*:?\s*",
    re.IGNORECASE,
)
_BARE = re.compile(r"[A-Za-z]")
_MARKED = re.compile(r"(?:[(\[]\s*([A-Za-z])\s*[)\]]|([A-Za-z])\s*[.):])[.:]?\s*(.*)", re.DOTALL)
_OTHER = re.compile(r"(?<![A-Za-z])(?:[(\[]\s*[A-Z]\s*[)\]]|[A-Z][.):])")
_WRAPPED = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_EDGES = " \t\r\n.,;:!?\"'`"


def multiple_choice(response: str, label: Any) -> float:
    """1 if the response's final answer is the right choice and no other, else 0.

    The final answer stands in the last <answer>...</answer>, or else in the last box, or else it is the whole last
    line; thoughts in <think>...</think> do not count. It is a letter ("B", "(B)", "B.", "The answer is B"), the text of
    a choice, or both where they agree. A letter that is the text of another choice needs a bracket or a dot. Anything
    else, such as two letters, is no answer.
    label: {"choices": [texts], "answer": the right one's number from 0}, or a letter alone. Raises LabelError for any
    other.
    """
    texts, right = _read(label)
    chosen = _chosen(_final(response), texts)
    return float(bool(chosen) and chosen <= right)


def choice_answer(response: str) -> str | None:
    """The final answer: its letter, or else its text in small letters; None if there is none."""
    said = _without_lead(_final(response))
    marked = _MARKED.fullmatch(said)
    if marked or _BARE.fullmatch(said):
        return (said if marked is None else marked[1] or marked[2]).upper()
    return _plain(said) or None


def _final(response: str) -> str:
    """What the response says in the end."""
    said = spoken(response)
    tagged = tagged_answer(said)
    scope = said.strip() if tagged is None else tagged
    boxed = last_box(scope)
    if boxed is not None:
        scope = boxed
    elif tagged is None:
        scope = scope.rpartition("\n")[2]
    return _WRAPPED.sub(r"\1", scope).replace("*", "").strip(" $`\t\r\n")


def _without_lead(said: str) -> str:
    """ "The answer is option B" -> "B"."""
    while (lead := _LEAD.match(said)) is not None:
        said = said[lead.end() :]
    return said.strip(" $`\t\r\n")


def _chosen(final: str, texts: Sequence[str | None]) -> set[int]:
    """The numbers of all choices that this may mean; texts: of the choices, None where they are not known."""
    said = _without_lead(final)
    named = _named(final, texts) or _named(said, texts)
    marked = _MARKED.fullmatch(said)
    if marked is None:
        return named | _numbered(said, texts) if _BARE.fullmatch(said) else named
    number = _numbered(marked[1] or marked[2], texts)
    if not marked[3]:
        return number or named
    agreed = {each for each in number if _agrees(texts[each], marked[3])}
    return agreed or named


def _named(said: str, texts: Sequence[str | None]) -> set[int]:
    return {number for number, text in enumerate(texts) if text == _plain(said)}


def _agrees(text: str | None, written: str) -> bool:
    """Whether what is written behind a letter is its choice; if that is not known, whether it names no other letter."""
    return text == _plain(written) if text is not None else not _OTHER.search(written)


def _numbered(letter: str, texts: Sequence[str | None]) -> set[int]:
    number = ascii_uppercase.index(letter.upper())
    return {number} if number < len(texts) else set()


def _plain(text: str) -> str:
    """Without case, and without punctuation at its ends."""
    return " ".join(_WRAPPED.sub(r"\1", text).casefold().split()).strip(_EDGES)


def _read(label: Any) -> tuple[list[str | None], set[int]]:
    """The choices' texts, and the numbers of those that are right: equal texts are equally right."""
    if isinstance(label, str) and _BARE.fullmatch(label.strip()):
        return [None] * len(ascii_uppercase), {ascii_uppercase.index(label.strip().upper())}
    match label:
        case {"choices": list(choices), "answer": int(answer)} if _are_choices(choices, answer):
            texts = [_plain(choice) for choice in choices]
            return [*texts], {number for number, text in enumerate(texts) if text == texts[answer]}
    raise LabelError(
        'rule multiple_choice needs a label such as {"choices": ["a dog", "a cat"], "answer": 1} or "B"; '
        f"this label is {label!r:.200}"
    )


def _are_choices(choices: Sequence[Any], answer: Any) -> bool:
    """Whether these are texts that can be told from nothing, and the answer is the number of one."""
    texts = all(isinstance(choice, str) and _plain(choice) for choice in choices)
    return (
        texts and len(choices) <= len(ascii_uppercase) and not isinstance(answer, bool) and 0 <= answer < len(choices)
    )
