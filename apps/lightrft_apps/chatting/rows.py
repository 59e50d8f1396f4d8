"""The file that answers to a file of prompts are written into, as they are finished."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from lightrft_apps.chatting.showing import say
from lightrft_apps.config import ConfigError
from lightrft_core import Group, Rollout


class Answers:
    """Counts what it writes. answered, failed: prompts with an answer in the file, and with the reason for none."""

    def __init__(self, file: TextIO) -> None:
        self.answered = self.failed = 0
        self._file = file

    def add(self, groups: Sequence[Group]) -> None:
        """Write a row for each answer, and for each prompt that has none."""
        rows = [row for group in groups for row in _rows(group)]
        failed = sum("error" in row for row in rows)
        self.write(rows)
        self.failed += failed
        self.answered += len(rows) - failed

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows, and have them in the file."""
        self._file.writelines(json.dumps(row, ensure_ascii=True, default=str) + "\n" for row in rows)
        self._file.flush()


@contextmanager
def answers_in(output: Path) -> Iterator[Answers]:
    """A new file of answers. What is in it stays if the block is left early, and is said; of none, no file is left.

    Raises ConfigError if the file is there already, or cannot be written.
    """
    try:
        file = output.open("x", encoding="utf-8")
    except FileExistsError as error:
        told = f"--output {output}: it is there already, and nothing is overwritten: set it to a new file"
        raise ConfigError([told]) from error
    except OSError as error:
        raise ConfigError([f"--output {output} cannot be written: {error.strerror}"]) from error
    answers = Answers(file)
    try:
        with file:
            yield answers
    except BaseException:
        if answers.answered + answers.failed:
            say(f"ended early: {answers.answered} answers in {output}, {answers.failed} prompts without one")
        else:
            output.unlink()
        raise


def _rows(group: Group) -> Iterator[dict[str, Any]]:
    """What is written of one prompt: its answer, or why there is none."""
    prompt = group.prompt
    row = {
        "prompt_uid": prompt.uid.removeprefix("eval/"),
        "messages": [asdict(message) for message in prompt.messages],
        "prompt": prompt.text,
        "label": prompt.label,
    }
    if group.error:
        yield row | {"error": group.error}
    for rollout in group.rollouts:
        yield row | _answer(rollout)


def _answer(rollout: Rollout) -> dict[str, Any]:
    told = {"answer": rollout.text, "finish_reason": rollout.finish_reason.value, "tokens": len(rollout.token_ids)}
    verdict = rollout.verdict
    if verdict is None:
        return told
    return told | {
        "reward": verdict.score,
        "accuracy": verdict.accuracy,
        "parts": dict(verdict.parts),
        "steps": list(verdict.steps),
        "notes": dict(verdict.notes),
        "judge_error": verdict.error or ("timed out" if verdict.timed_out else ""),
    }
