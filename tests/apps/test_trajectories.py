"""Answers on disk: one Parquet row a rollout, with what was asked, answered, judged and learnt from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lightrft_apps import RLConfig, train
from lightrft_apps.recording.trajectories import SCHEMA, write_trajectories
from lightrft_core import FinishReason, Group, Learnt, Message, Prompt, Rollout
from lightrft_core.types import Verdict


@dataclass(frozen=True)
class Shown:
    """A medium that is its hash."""

    modality: str
    sha256: str


def rollout(sample: int, verdict: Verdict | None, **fields: Any) -> Rollout:
    values = {"token_ids": [5, 6], "logprobs": [-0.5, -1.5], "loss_mask": [True, True], "text": "é 7"}
    return Rollout(sample, **values | {"finish_reason": FinishReason.STOP} | fields, verdict=verdict)


def rows(path: Path, *groups: Group, step: int = 3) -> list[dict[str, Any]]:
    write_trajectories(path, step, groups)
    table = pq.read_table(path)
    assert table.schema == SCHEMA
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_a_row_holds_all_that_is_known_of_an_answer(tmp_path: Path) -> None:
    shown = (Shown("image", "ab"), Shown("audio", "cd"))
    label = {"answer": "é", "of": [1, 2]}
    asked = (Message("user", ({"type": "text", "text": "é="}, {"type": "image", "sha256": "ab"})),)
    prompt = Prompt("sums.jsonl:4", asked, "3+4=", (1, 2), label, "sums", occurrence=2, media=shown)
    verdict = Verdict(
        0.75, accuracy=0.5, parts={"number": 1.0, "format": -0.25}, steps=((1, 0.5), (3, -1.0)), notes={"rm": "é"}
    )
    (row,) = rows(tmp_path / "deep" / "step.parquet", Group(prompt, [rollout(1, verdict, advantage=-1.25)]))
    assert json.loads(row.pop("messages")) == [
        {"role": "user", "content": [{"type": "text", "text": "é="}, {"type": "image", "sha256": "ab"}]}
    ]
    assert row == {
        "step": 3,
        "prompt_uid": "sums.jsonl:4",
        "occurrence": 2,
        "sample": 1,
        "prompt": "3+4=",
        "media": ["image:ab", "audio:cd"],
        "response": "é 7",
        "label": '{"answer": "é", "of": [1, 2]}',
        "route": "sums",
        "token_ids": [5, 6],
        "pieces": None,
        "logprobs": [-0.5, -1.5],
        "finish_reason": "stop",
        "reward": 0.75,
        "accuracy": 0.5,
        "parts": '{"number": 1.0, "format": -0.25}',
        "steps": "[[1, 0.5], [3, -1.0]]",
        "error": "",
        "timed_out": False,
        "notes": '{"rm": "é"}',
        "advantage": -1.25,
        "advantages": None,
        "trainer_logprobs": None,
        "entropy": None,
        "ratios": None,
    }


def test_an_answer_that_was_not_judged_has_no_reward_and_says_why(tmp_path: Path) -> None:
    verdicts = [Verdict(None, error="score: division by zero"), Verdict(None, timed_out=True)]
    prompt = Prompt("a", (), "?", (1,))
    answers = [rollout(i, verdict, finish_reason=FinishReason.LENGTH) for i, verdict in enumerate(verdicts)]
    broken, slow = rows(tmp_path / "step.parquet", Group(prompt, answers))
    assert (broken["reward"], broken["accuracy"], broken["error"]) == (None, None, "score: division by zero")
    assert (slow["reward"], slow["timed_out"], slow["error"]) == (None, True, "")
    assert {broken["finish_reason"], slow["finish_reason"]} == {"length"}
    assert broken["label"] == "null"


def test_no_groups_make_a_table_of_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path / "step.parquet") == []


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "step.parquet"
    path.write_text("torn")
    path.with_suffix(".unfinished").write_text("torn, too")
    assert len(rows(path, Group(Prompt("a", (), "?", (1,)), [rollout(0, Verdict(1.0))]))) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_keeps_every_answer_of_every_step_and_evaluation(
    flags: dict[str, Any], tmp_path: Path, tiny_folder: Path
) -> None:
    from transformers import AutoTokenizer

    train(RLConfig.create(**flags, num_episodes=2, eval_dataset=flags["prompt_data"]))
    folder = tmp_path / "run" / "trajectories"
    names = ["eval_000000", "eval_000004", *(f"step_{step:06d}" for step in (1, 2, 3, 4))]
    assert sorted(path.stem for path in folder.iterdir()) == names
    steps = [pq.read_table(folder / f"step_{step:06d}.parquet").to_pylist() for step in (1, 2, 3, 4)]
    drawn = [row["prompt_uid"] for table in steps[:2] for row in table]
    assert sorted(drawn) == sorted(2 * [f"prompts.jsonl:{row}" for row in range(1, 9)])
    assert [{row["occurrence"] for row in table} for table in steps] == [{0}, {0}, {1}, {1}]
    assert all(abs(sum(row["advantage"] for row in table)) < 1e-5 for table in steps)

    held_out = pq.read_table(folder / "eval_000000.parquet").to_pylist()
    assert {row["prompt_uid"] for row in held_out} == {f"eval/prompts.jsonl:{row}" for row in range(1, 9)}
    decode = AutoTokenizer.from_pretrained(tiny_folder).decode
    for row in [*held_out, *steps[0]]:
        assert row["response"] == decode(row["token_ids"], skip_special_tokens=True)
        assert json.loads(row["label"]) == str(2 * int(row["prompt"].split("+")[0]))
        assert len(row["logprobs"]) == len(row["token_ids"])
        assert (row["finish_reason"] == "stop") == (row["token_ids"][-1] == 0)


def test_answers_of_a_step_are_drawn_anew_for_each_sample_and_episode(
    flags: dict[str, Any], build_group: Callable[..., Any], tmp_path: Path
) -> None:
    train(RLConfig.create(**flags | {"actor_learning_rate": 1e-12}, num_episodes=2))
    folder = tmp_path / "run" / "trajectories"
    answers = [row for path in folder.iterdir() for row in pq.read_table(path).to_pylist()]
    by_prompt: dict[str, set[str]] = {}
    for row in answers:
        by_prompt.setdefault(row["prompt_uid"], set()).add(row["response"])
    assert sum(map(len, by_prompt.values())) > 0.8 * len(answers)


def test_numbers_of_tokens_stand_beside_their_tokens(tmp_path: Path) -> None:
    learnt = Learnt([0.5, -0.5], [-1.0, -2.0], [0.25, 0.75], [1.0, 1.5])
    ours = {"token_ids": [5, 6, 7], "logprobs": [-1.0] * 3, "loss_mask": [True, False, True]}
    answers = [
        rollout(0, Verdict(1.0), **ours, learnt=learnt),
        rollout(1, Verdict(1.0), **ours, learnt=Learnt([0.0, 0.0])),
        rollout(2, Verdict(1.0), **ours),
    ]
    prompt = Prompt("sums.jsonl:4", (), "3+4=", (1, 2))
    found = rows(tmp_path / "step.parquet", Group(prompt, answers))
    names = ("advantages", "trainer_logprobs", "entropy", "ratios")
    assert [[row[name] for name in names] for row in found] == [
        [[0.5, None, -0.5], [-1.0, None, -2.0], [0.25, None, 0.75], [1.0, None, 1.5]],
        [[0.0, None, 0.0], [None] * 3, [None] * 3, [None] * 3],
        [None] * 4,
    ]
