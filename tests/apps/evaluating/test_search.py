"""Test-time search: the best of n by a reward model, the most frequent answer, and what their numbers are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from lightrft_apps.config.commands.eval import parse_eval
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.evaluating.answering import Answered, answer
from lightrft_apps.evaluating.problems import read_problems
from lightrft_apps.evaluating.report import entry_of, report_of, write_report
from lightrft_apps.evaluating.table import lines_of
from lightrft_apps.evaluating.tasks import load_tasks
from lightrft_apps.recording.trajectories import read_trajectories
from lightrft_core import Group, Verdict
from lightrft_rewards import RULES

ANSWERS = {
    "2+2?": ["#### 4", "#### 5", "#### 4", "no idea"],
    "3+3?": ["#### 7", "#### 6", "#### 7", "#### 7"],
    "4+4?": ["#### 9", "#### 8", "hm", "#### 8.0"],
}
"""Of these 2, 1 and 2 are right; by a vote 4, 7 and 8."""


class ByRule:
    """Judges as the rule gsm8k does, in this process."""

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        def said(group: Group, text: str) -> Verdict:
            value = RULES["gsm8k"].score(text, group.prompt.label)
            return Verdict(value, accuracy=value)

        return [[said(group, rollout.text) for rollout in group.rollouts] for group in groups]


class ByNumber:
    """A reward model that scores each answer by a function of its text; None: it cannot be scored."""

    def __init__(self, worth: Callable[[str], float | None]) -> None:
        self.worth = worth

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        return [[Verdict(self.worth(rollout.text)) for rollout in group.rollouts] for group in groups]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "rows.jsonl"
    lines = [{"question": f"{i}+{i}?", "answer": f"#### {2 * i}"} for i in (2, 3, 4)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


@pytest.fixture
def searched(rows: str, senses: Any, canned: Any) -> Callable[..., tuple[EvalCommand, Answered]]:
    """searched(search, worth) -> what comes of the answers above."""

    def search(name: str | None, worth: Callable[[str], float | None] | None = None) -> tuple[EvalCommand, Answered]:
        words = ["--pretrain", "x/y", "--apply_chat_template", "--benchmark", f"gsm8k:{rows}", "--input_template", "{}"]
        words += ["--n_samples_per_prompt", "4", "--temperature", "1"]
        words += [] if name is None else ["--search", name]
        command = parse_eval(words + (["--reward_pretrain", "r/m"] if worth else []))
        (task,) = load_tasks(command, senses, "")
        engine = canned(lambda prompt, number: ANSWERS[prompt.text][number])
        return command, answer(command, task, engine, ByRule(), ByNumber(worth) if worth else None)

    return search


def test_the_best_of_n_is_the_one_that_the_reward_model_scores_highest(searched: Any) -> None:
    command, found = searched("best_of_n", lambda text: -float(text[5:]) if text.startswith("####") else None)
    assert [problem.response for problem in found.problems] == ["#### 4", "#### 6", "#### 8"]
    entry = entry_of(found, command.search.search)
    assert (entry["accuracy"]["value"], entry["chosen"]["value"]) == (5 / 12, 1.0)
    assert entry["pass_at_k"]["4"]["value"] == entry["best_at_k"]["4"]["value"] == 1.0
    assert entry["best_at_k"]["1"]["value"] == pytest.approx(5 / 12)
    other, worst = searched("best_of_n", lambda text: float(text[5:]) if text.startswith("####") else None)
    assert [problem.response for problem in worst.problems] == ["#### 5", "#### 7", "#### 9"]
    assert entry_of(worst, other.search.search)["chosen"]["value"] == 0.0


def test_an_answer_that_cannot_be_scored_is_taken_last(searched: Any) -> None:
    _, found = searched("best_of_n", lambda text: None if "####" in text else -1e9)
    assert [problem.chosen for problem in found.problems] == [3, 0, 2]


def test_the_majority_is_counted_as_the_rule_reads_answers(searched: Any) -> None:
    command, found = searched("majority")
    assert [problem.response for problem in found.problems] == ["#### 4", "#### 7", "#### 8"]
    entry = entry_of(found, command.search.search)
    assert entry["chosen"]["value"] == pytest.approx(2 / 3) == entry["maj_at_k"]["4"]["value"]
    assert entry["maj_at_k"]["1"]["value"] == pytest.approx(5 / 12)
    assert entry["maj_at_k"]["2"]["value"] == pytest.approx(fmean(map(majority_of_two, ANSWERS.items())))


def majority_of_two(asked: tuple[str, list[str]]) -> float:
    question, texts = asked
    right = 2 * int(question[0])
    values = []
    for pair in combinations(texts, 2):
        numbers = {float(text[5:]) for text in pair if "####" in text}
        values.append(float(right in numbers) / len(numbers))
    return fmean(values)


def test_without_a_search_votes_are_counted_and_nothing_is_chosen(searched: Any) -> None:
    command, found = searched(None)
    entry = entry_of(found, command.search.search)
    assert "chosen" not in entry and "best_at_k" not in entry
    assert list(entry["maj_at_k"]) == list(entry["pass_at_k"]) == ["1", "2", "4"]


def test_the_report_keeps_every_problem_and_score(searched: Any, tmp_path: Path) -> None:
    command, found = searched("best_of_n", lambda text: float(len(text)))
    report = report_of(command, [found])
    write_report(tmp_path / "out", report, [found], lambda ids: [str(token) for token in ids])
    assert json.loads((tmp_path / "out" / "eval.json").read_text()) == json.loads(json.dumps(report))
    assert read_problems(tmp_path / "out" / "gsm8k" / "problems.parquet") == found.problems
    answers = read_trajectories(tmp_path / "out" / "gsm8k" / "answers.parquet")
    assert all(len(answer["pieces"]) == len(answer["token_ids"]) for answer in answers)
    assert [json.loads(row["parts"])["selector"] for row in answers] == [len(row["response"]) for row in answers]
    lines = [*lines_of(report)]
    assert lines[0].startswith("gsm8k  accuracy    41.7%  95% interval")
    assert any(line.split()[:2] == ["best@4", "41.7%"] for line in lines)
    assert (
        lines[-1]
        == "gsm8k: 3 prompts, 4 answers each, 1.0 tokens on average, 0.0% cut off, 0 not judged, 0 rows rejected"
    )
