"""Solutions whose steps were judged, read from rows: a list of steps, or one text with a mark behind each step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite, nan
from pathlib import Path
from typing import Any

from lightrft_rewards.models.passage import Contest
from lightrft_rewards.models.steps import stepped_passage
from lightrft_rewards.models.writing import Writer
from lightrft_strategy.data.conversation import read_prompt
from lightrft_strategy.data.encoder import as_messages, read_media
from lightrft_strategy.data.parts import MODALITIES, Turn, described, keys_of, quoted
from lightrft_strategy.data.rejected import PromptDataError, Rejected, RowError
from lightrft_strategy.data.rows import Keys, Row, unique_names
from lightrft_strategy.data.sources import open_source

HEAD = "score"


@dataclass(frozen=True)
class SolutionKeys:
    """Under which keys a row has its question (the first that is there), its steps and their labels.

    placeholder: what stands behind each step where a row has one text; None: rows have lists of steps.
    good, bad: what labels may be called besides true and false, and numbers from 0 to 1.
    separator: what is written between two steps of a list. images, videos, audios: as of prompts.
    """

    questions: tuple[str, ...] = ("prompt", "input")
    steps: tuple[str, ...] = ("steps", "completions")
    labels: tuple[str, ...] = ("labels", "label", "value")
    placeholder: str | None = None
    good: str = "+"
    bad: str = "-"
    separator: str = "\n\n"
    images: str = "images"
    videos: str = "videos"
    audios: str = "audios"


@dataclass(frozen=True)
class Solution:
    """A question and an answer in steps.

    asked: the conversation so far; empty where the text has the question, too. text: the answer. ends: how many letters
    of it there are up to the end of each step. labels: head -> how good each step is, 0 to 1; NaN: nobody knows.
    """

    uid: str
    asked: tuple[Turn, ...]
    text: str
    ends: tuple[int, ...]
    labels: Mapping[str, tuple[float, ...]]
    source: str = ""
    root: Path | None = field(default=None, compare=False)


@dataclass(frozen=True)
class LoadedSolutions:
    """What was read. rejected: the rows that could not be used."""

    solutions: list[Solution] = field(default_factory=list[Solution])
    rejected: list[Rejected] = field(default_factory=list[Rejected])


def load_solutions(
    data: str,
    *,
    keys: SolutionKeys | None = None,
    split: str = "train",
    max_samples: int | None = None,
    media_root: Path | None = None,
) -> LoadedSolutions:
    """Read every source of a comma-separated list: files, folders and data sets, as those of prompts.

    Rows: {"prompt" or "input": a text or chat messages, "steps" or "completions": texts, "labels": one for each}, as
    TRL has them, too; or with a placeholder {"input": a text with it behind each step, "labels" or "value": one for
    each}, as OpenRLHF has them, whose text begins with its question unless "prompt" has that.
    A uid is "<file or data set>:<row>", a source as it is listed. media_root: the folder that paths of media start
    from; None: that of the file. Raises PromptDataError if a source cannot be read or has no row to use.
    """
    loaded, keys = LoadedSolutions(), keys or SolutionKeys()
    sources = [source.strip() for source in data.split(",") if source.strip()]
    opened = [open_source(source, split=split, keys=Keys(), count=max_samples) for source in sources]
    names = iter(unique_names([table for tables in opened for table in tables]))
    for source, tables in zip(sources, opened, strict=True):
        before = len(loaded.solutions)
        for table in tables:
            name = next(names)
            for row in islice(table.read(), max_samples):
                if isinstance(row, Rejected):
                    loaded.rejected.append(row)
                    continue
                try:
                    root = media_root or table.folder
                    loaded.solutions.append(read_solution(row, f"{name}:{row.number}", keys, source, root))
                except RowError as error:
                    loaded.rejected.append(Rejected(table.source, row.number, str(error), row.whole))
        if len(loaded.solutions) == before:
            first = "".join(f"\n  {item}" for item in loaded.rejected[:3])
            raise PromptDataError(f"{source}: not one of its rows can be used; the first:{first}", loaded.rejected)
    return loaded


def read_solution(row: Row, uid: str, keys: SolutionKeys, source: str, folder: Path | None) -> Solution:
    """One row. Raises RowError if it is of another form."""
    content = row.content
    text, ends, question = _marked(content, keys) if keys.placeholder else _listed(content, keys)
    media = Keys(input=question or "", images=keys.images, videos=keys.videos, audios=keys.audios)
    asked = () if question is None else tuple(read_prompt(content, media, None, None, MODALITIES))
    labels = _labels(_found(content, keys.labels)[1], keys)
    if len(labels) != len(ends):
        raise RowError(f"has {len(labels)} labels for {len(ends)} steps")
    return Solution(uid, asked, text, tuple(ends), {HEAD: labels}, source, folder)


def solution_contest(writer: Writer, solution: Solution) -> Contest:
    """A solution as a process reward model reads it. Raises RowError if it cannot be written so."""
    if not solution.asked and writer.chat is not None:
        raise RowError(
            "has its question and its steps in one text, which no chat template can write: give the question a key of "
            "its own, or leave --apply_chat_template out"
        )
    limits = writer.media_limits
    media = read_media(solution.asked, writer.encoder, root=solution.root, urls=writer.media_urls, limits=limits)
    messages = as_messages((*solution.asked, Turn("assistant", (solution.text,))), media)
    passage = stepped_passage(writer, messages, media, solution.ends)
    return Contest(solution.uid, (passage,), solution.labels, solution.source)


def _listed(content: Mapping[str, Any], keys: SolutionKeys) -> tuple[str, list[int], str]:
    """(text, ends, key of the question) of a row with a list of steps."""
    question, _ = _found(content, keys.questions)
    name, steps = _found(content, keys.steps)
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not all(isinstance(step, str) for step in steps):
        raise RowError(f'its "{name}" is {described(steps)}, not a list of texts')
    text, ends = "", []
    for number, step in enumerate(steps, start=1):
        if not step.strip():
            raise RowError(f"its step {number} is empty")
        text += (keys.separator if text else "") + step.strip()
        ends.append(len(text))
    return text, ends, question


def _marked(content: Mapping[str, Any], keys: SolutionKeys) -> tuple[str, list[int], str | None]:
    """(text, ends, key of the question if it has one of its own) of a row with a mark behind each step."""
    assert keys.placeholder is not None
    own = [key for key in keys.questions if key in content]
    name = own[-1] if own else keys.questions[-1]
    whole = _found(content, (name,))[1]
    if not isinstance(whole, str):
        raise RowError(
            f'its "{name}" is {described(whole)}, not a text with {quoted(keys.placeholder)} behind each step'
        )
    *steps, rest = whole.split(keys.placeholder)
    if not steps or rest.strip():
        raise RowError(f"does not end with {quoted(keys.placeholder)}, which stands behind each step")
    text, ends = "", []
    for number, step in enumerate(steps, start=1):
        if not step.strip():
            raise RowError(f"its step {number} is empty")
        ends.append(len(text) + len(step.rstrip()))
        text += step
    return text.rstrip(), ends, own[0] if len(own) > 1 else None


def _found(content: Mapping[str, Any], names: Collection[str]) -> tuple[str, Any]:
    for name in names:
        if content.get(name) is not None:
            return name, content[name]
    listed = " or ".join(f'"{name}"' for name in names)
    raise RowError(f"has no {listed} (it has {keys_of(content)})")


def _labels(given: Any, keys: SolutionKeys) -> tuple[float, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise RowError(f"its labels are {described(given)}, not a list of one for each step")
    return tuple(_label(label, keys) for label in given)


def _label(label: Any, keys: SolutionKeys) -> float:
    if label is None:
        return nan
    if label in (keys.good, keys.bad):
        return float(label == keys.good)
    if isinstance(label, bool | int | float) and isfinite(label) and 0 <= label <= 1:
        return float(label)
    raise RowError(
        f"has the label {quoted(label)} of a step: there are {quoted(keys.good)}, {quoted(keys.bad)}, true, false, "
        "null and numbers from 0 to 1"
    )
