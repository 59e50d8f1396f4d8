"""`lightrft reward replay`: saved answers judged once more, by the run's rewards or others, and what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lightrft_apps.recording.trajectories import write_trajectories
from lightrft_core import FinishReason, Group, Prompt, Rollout
from lightrft_core.types import Verdict

THOUGHT = "<think>so</think><answer>{}</answer>"


def group(uid: str, label: Any, *answers: tuple[str, Verdict], route: str = "", **fields: Any) -> Group:
    rollouts = [
        Rollout(n, [5], [-0.5], [True], fields.pop("finish", FinishReason.STOP), text, verdict=verdict)
        for n, (text, verdict) in enumerate(answers)
    ]
    return Group(Prompt(uid, (), "3+4=", (1, 2), label, route, **fields), rollouts)


def by_number(right: float, form: float) -> Verdict:
    return Verdict(right + 0.2 * form, accuracy=right, parts={"number": right, "format": form})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three steps that was judged by number:1.0,format:0.2, rightly but for one answer of step 2."""
    folder = tmp_path / "run"
    config = {"pretrain": "model", "prompt_data": "prompts.jsonl", "output_dir": str(folder)}
    config |= {"rule_reward": "number:1.0,format:0.2", "reward_routes": {"shape": "format"}, "reward_workers": 1}
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(config))
    fine = group("a", 7, ("7", by_number(1, 0)), (THOUGHT.format(8), by_number(0, 1)))
    shape = group("b", None, ("x", Verdict(0.0, accuracy=0.0, parts={"format": 0.0})), route="shape")
    wrong = group("a", 7, ("7", by_number(0, 0)), ("7", Verdict(None, error="the worker died")))
    penalised = Verdict(0.5, accuracy=1.0, parts={"number": 1.0, "format": 0.0, "overlong": -0.5})
    late = group("c", "7", ("7", penalised), ("8", Verdict(None, timed_out=True)))
    for step, groups in enumerate([[fine, shape], [wrong], [late]], start=1):
        write_trajectories(folder / "trajectories" / f"step_{step:06d}.parquet", step, groups)
    write_trajectories(folder / "trajectories" / "eval_000000.parquet", 0, [group("h", 1, ("1", by_number(1, 0)))])
    return folder


Ask = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def replayed(run: Path, lightrft: Callable[..., Any]) -> Ask:
    """replayed(steps=1, ...) -> the report, and what was printed."""

    def ask(*words: str, **flags: Any) -> tuple[dict[str, Any], str]:
        ended = lightrft("reward", "replay", str(run), *words, **flags)
        assert ended.code == 0, ended.err
        report: dict[str, Any] = json.loads(Path(flags.get("output", run / "replay.json")).read_text())
        return report, ended.out

    return ask


def test_by_its_own_rewards_only_what_was_judged_wrongly_differs(replayed: Ask) -> None:
    report, printed = replayed()
    assert (report["answers"], report["differ"]) == (7, 3)
    assert report["judged_by"] == {"rule_reward": "number:1.0,format:0.2", "reward_routes": {"shape": "format"}}
    number = report["parts"]["number"]
    assert (number["compared"], number["differ"], number["only_before"], number["only_after"]) == (4, 1, 0, 2)
    assert (number["mean_before"], number["mean_after"], number["largest_difference"]) == (0.5, 0.75, 1.0)
    assert (report["parts"]["format"]["compared"], report["parts"]["format"]["differ"]) == (5, 0)
    assert report["parts"]["overlong"]["only_before"] == 1
    assert report["status"] == {"scored": 5, "error -> scored": 1, "timed out -> scored": 1}
    assert (report["reward"]["compared"], report["reward"]["differ"]) == (4, 1)
    assert report["steps"] == {
        "1": {"answers": 3, "differ": 0},
        "2": {"answers": 2, "differ": 2},
        "3": {"answers": 2, "differ": 1},
    }
    first = report["examples"][0]
    assert (first["step"], first["prompt_uid"], first["differs_in"]) == (2, "a", ["number", "accuracy", "reward"])
    assert "3 of 7 verdicts differ" in " ".join(printed.split())


def test_other_rewards_take_the_place_of_the_runs(replayed: Ask, tmp_path: Path) -> None:
    report, _ = replayed(steps="1", rule_reward="gsm8k,format:0.5", output=tmp_path / "deep" / "other.json")
    assert report["judged_by"] == {"rule_reward": "gsm8k,format:0.5"}
    assert (report["parts"]["number"]["only_before"], report["parts"]["gsm8k"]["only_after"]) == (2, 2)
    assert report["status"] == {"scored": 2, "scored -> error": 1}
    assert report["parts"]["format"]["differ"] == 0


def test_a_function_may_judge_what_rules_did(replayed: Ask, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def score(prompts, responses, labels):\n    return [0.5 for _ in responses]\n")
    report, _ = replayed(reward_fn=f"{tmp_path}/f.py:score", steps="1-2")
    assert (report["reward"]["compared"], report["reward"]["differ"], report["reward"]["mean_after"]) == (4, 4, 0.5)
    assert report["judged_by"] == {"reward_fn": f"{tmp_path}/f.py:score"}


def test_steps_limits_and_evaluations_choose_the_answers(replayed: Ask) -> None:
    assert replayed(max_samples=4)[0]["steps"] == {"1": {"answers": 3, "differ": 0}, "2": {"answers": 1, "differ": 1}}
    assert replayed("--evaluations")[0]["steps"] == {"0": {"answers": 1, "differ": 0}}
    assert replayed(tolerance=1.0, steps="2-3")[0]["parts"]["number"]["differ"] == 0


def test_a_truncated_answers_reward_is_not_compared_where_it_was_multiplied(run: Path, replayed: Ask) -> None:
    cut = group(
        "a", 7, ("7", Verdict(0.5, accuracy=1.0, parts={"number": 1.0, "format": 0.0})), finish=FinishReason.LENGTH
    )
    write_trajectories(run / "trajectories" / "step_000009.parquet", 9, [cut])
    assert replayed(steps="9")[0]["reward"]["differ"] == 1
    config = json.loads((run / "config.yaml").read_text()) | {"stop_properly_penalty_coef": 0.5}
    (run / "config.yaml").write_text(json.dumps(config))
    report, _ = replayed(steps="9")
    assert (report["reward"]["compared"], report["differ"]) == (0, 0)


def test_answers_of_a_run_before_routes_were_kept_can_be_read(run: Path, replayed: Ask) -> None:
    file = run / "trajectories" / "step_000002.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["route", "media"]), file)
    assert replayed(steps="2")[0]["answers"] == 2


@pytest.mark.parametrize(
    ("change", "flags", "says"),
    [
        ({}, {"steps": "4-5"}, "--steps 4-5: there are no saved answers"),
        ({}, {"steps": "5-4"}, "--steps 5-4: write it as 7, or as 1-20"),
        ({}, {"steps": "x"}, "--steps x: write it as 7, or as 1-20"),
        ({}, {"max_samples": 0}, "--max_samples"),
        ({}, {"tolerance": -1}, "--tolerance"),
        ({}, {"rule_reward": "nmber"}, "did you mean number?"),
        (
            {"ttrl": True, "rule_reward": "number", "reward_routes": None},
            {},
            "judged by the vote of its answers (--ttrl)",
        ),
    ],
)
def test_what_cannot_be_replayed_is_said_in_a_line(
    run: Path, lightrft: Callable[..., Any], change: dict[str, Any], flags: dict[str, Any], says: str
) -> None:
    (run / "config.yaml").write_text(json.dumps(json.loads((run / "config.yaml").read_text()) | change))
    ended = lightrft("reward", "replay", run=run, **flags)
    assert ended.code != 0
    assert says in ended.err


def test_a_folder_that_is_no_run_and_a_word_that_is_no_command_are_told(
    tmp_path: Path, lightrft: Callable[..., Any]
) -> None:
    assert "there is no run (config.yaml)" in lightrft("reward", "replay", str(tmp_path)).err
    ended = lightrft("reward", "play", str(tmp_path))
    assert (ended.code, "there is no 'play'" in ended.err) == (2, True)
    (tmp_path / "config.yaml").write_text("pretrain: m\ntrain_data: hpdv3:x\noutput_dir: y\n")
    assert "no run of lightrft rl" in lightrft("reward", "replay", str(tmp_path)).err


def test_media_that_are_not_kept_are_no_judgement(run: Path, lightrft: Callable[..., Any]) -> None:
    class Shown:
        modality, sha256 = "image", "ab"

    seen = group("s", 7, ("7", by_number(1, 0)), media=(Shown(),))
    write_trajectories(run / "trajectories" / "step_000004.parquet", 4, [seen])
    assert lightrft("reward", "replay", str(run), steps=4).code == 0
    flags = {"llm_judge_url": "http://127.0.0.1:1", "llm_judge_model": "m", "steps": 4}
    ended = lightrft("reward", "replay", str(run), **flags)
    assert (ended.code != 0, "llm would have to see the media of s" in ended.err) == (True, True)
