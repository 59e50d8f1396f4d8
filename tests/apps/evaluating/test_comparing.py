"""Models compared on the same problems, from problems that are given and from the command on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lightrft_apps.config import ConfigError
from lightrft_apps.evaluating.comparing import aligned_problems, compare, comparison_lines
from lightrft_apps.evaluating.problems import Problem, read_problems
from lightrft_apps.recording.trajectories import read_trajectories
from lightrft_core.paired import holm, mcnemar, sign_flip

Command = Callable[..., Any]


def problems(*rights: tuple[int, int]) -> list[Problem]:
    """Each (how many right, of how many answers)."""
    return [
        Problem(f"row:{i}", "?", '"7"', "text", tuple(number < right for number in range(of)))
        for i, (right, of) in enumerate(rights)
    ]


def test_single_answers_are_compared_by_mcnemars_test() -> None:
    a = problems(*[(1, 1)] * 6 + [(0, 1)] * 10 + [(1, 1)] * 2)
    b = problems(*[(1, 1)] * 6 + [(1, 1)] * 9 + [(0, 1)] * 3)
    (found,) = compare({"a": {"": a}, "b": {"": b}})
    assert (found.test, found.wins, found.losses, found.ties) == ("mcnemar", 9, 2, 7)
    assert found.p == found.p_holm == mcnemar(9, 2) == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    assert found.difference == pytest.approx(7 / 18)
    assert found.interval[0] < found.difference < found.interval[1]


def test_several_answers_are_compared_by_the_paired_permutation_test_whatever_their_numbers() -> None:
    a, b = problems((1, 4), (2, 4), (0, 4), (4, 4)), problems((2, 3), (3, 3), (1, 3), (3, 3))
    (found,) = compare({"a": {"": a}, "b": {"": b}})
    gains = [Fraction(2, 3) - Fraction(1, 4), Fraction(1, 2), Fraction(1, 3), Fraction(0)]
    assert (found.test, found.wins, found.losses, found.ties) == ("sign_flip", 3, 0, 1)
    assert found.p == sign_flip([int(gain * 12) for gain in gains]) == 0.25
    assert found.difference == pytest.approx(float(sum(gains)) / 4)


def test_what_a_search_chose_is_what_is_compared() -> None:
    a = [replace(problem, chosen=0) for problem in problems((1, 4), (1, 4), (1, 4))]
    b = [replace(problem, chosen=3) for problem in problems((3, 4), (3, 4), (3, 4))]
    (found,) = compare({"a": {"": a}, "b": {"": b}})
    assert (found.test, found.wins, found.losses, found.difference) == ("mcnemar", 0, 3, -1.0)


def test_three_models_are_three_pairs_with_holms_correction_on_each_benchmark() -> None:
    a, b = problems(*[(1, 1)] * 10), problems(*[(0, 1)] * 8 + [(1, 1)] * 2)
    c = problems(*[(1, 1)] * 9 + [(0, 1)])
    found = compare({"a": {"x": a, "y": a}, "b": {"x": b, "y": a}, "c": {"x": c, "y": a}})
    assert [(each.task, each.first, each.second) for each in found[:3]] == [
        ("x", "a", "b"), ("x", "a", "c"), ("x", "b", "c")
    ]  # fmt: skip
    assert [each.p_holm for each in found[:3]] == pytest.approx(holm([each.p for each in found[:3]]))
    assert found[0].p_holm > found[0].p and {each.p_holm for each in found[3:]} == {1.0}
    lines = [*comparison_lines(found)]
    assert lines[0].split()[-2:] == ["p", "(Holm)"] and len(lines) == 8 and "McNemar" in lines[-1]


def test_problems_are_matched_by_name_and_others_are_refused() -> None:
    a = problems((1, 1), (0, 1), (1, 1))
    first, second = aligned_problems("", ("a", "b"), (a, a[::-1]))
    assert first == second == a
    with pytest.raises(ConfigError, match=r"a and b were not asked the same: 1 problems have only one .*row:2"):
        compare({"a": {"": a}, "b": {"": a[:2]}})
    other = [replace(a[0], label='"8"'), *a[1:]]
    with pytest.raises(ConfigError, match=r"of x: 1 have other labels \(row:0\)"):
        compare({"a": {"x": a}, "b": {"x": other}})
    with pytest.raises(ConfigError, match="a was asked x, b y"):
        compare({"a": {"x": a}, "b": {"y": a}})


# From the command on


@pytest.fixture(scope="session")
def other_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_model: Command) -> Path:
    """A model of other weights with the same tokenizer."""
    folder = tmp_path_factory.mktemp("other")
    for file in tiny_folder.glob("tok*"):
        (folder / file.name).write_bytes(file.read_bytes())
    tiny_model(seed=7, vocab_size=16, eos_token_id=0).save_pretrained(folder)
    return folder


def answers_of(folder: Path) -> dict[str, str]:
    return {row["prompt_uid"]: row["response"] for row in read_trajectories(folder / "answers.parquet")}


@pytest.mark.usefixtures("one_thread")
def test_two_checkpoints_are_compared_on_what_one_of_them_knows(
    tiny_folder: Path, other_folder: Path, lightrft: Command, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    asked = [{"input": f"{i}+{i}=", "label": "-1", "kind": "even" if i % 2 == 0 else "odd"} for i in range(10, 34)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in asked))
    flags = {"prompt_data": rows, "rule_reward": "number", "generate_max_len": 8, "reward_workers": 1}
    flags |= {"progress": False, "subgroup_keys": "kind"}
    ended = lightrft("eval", pretrain=tiny_folder, output_dir=tmp_path / "once", **flags)
    assert ended.code == 0, ended.err
    said = [*answers_of(tmp_path / "once").values()]
    for row, text in zip(asked, said, strict=True):
        numbers = re.findall(r"\d+", text)
        row["label"] = str(int(numbers[-1])) if numbers and row["kind"] == "even" else "-99999999"
    rows.write_text("".join(json.dumps(row) + "\n" for row in asked))

    ended = lightrft("eval", compare=f"own={tiny_folder},other={other_folder}", output_dir=tmp_path / "both", **flags)
    assert ended.code == 0, ended.err
    report = json.loads((tmp_path / "both" / "eval.json").read_text())
    own, other = (read_problems(tmp_path / "both" / name / "problems.parquet") for name in ("own", "other"))
    right = sum(problem.right[0] for problem in own)
    assert right >= 6 and report["models"]["own"]["accuracy"]["value"] == pytest.approx(right / 24)
    subgroups = report["models"]["own"]["subgroups"]["kind"]
    assert subgroups["odd"]["value"] == 0 and subgroups["even"]["value"] == pytest.approx(right / 12)
    (found,) = report["comparisons"]
    wins = sum(b.right[0] > a.right[0] for a, b in zip(own, other, strict=True))
    losses = sum(b.right[0] < a.right[0] for a, b in zip(own, other, strict=True))
    assert (found["wins"], found["losses"], found["test"]) == (wins, losses, "mcnemar")
    assert losses > 3 and found["p"] == pytest.approx(
        min(1, 2 * sum(comb(wins + losses, i) for i in range(min(wins, losses) + 1)) / 2 ** (wins + losses))
    )
    assert found["difference"] == pytest.approx((wins - losses) / 24)
    differing = pq.read_table(tmp_path / "both" / "differences.parquet").to_pylist()
    assert len(differing) == wins + losses
    said_by_own = answers_of(tmp_path / "both" / "own")
    assert all(row["first_response"] == said_by_own[row["uid"]] for row in differing)
    assert f"other - own  {found['difference']:+.1%}" in ended.out

    again = lightrft(
        "eval", compare_reports=f"{tmp_path}/both/own,{tmp_path}/both/other", output_dir=tmp_path / "again"
    )
    assert again.code == 0, again.err
    (reread,) = json.loads((tmp_path / "again" / "eval.json").read_text())["comparisons"]
    assert reread | {"first": "own", "second": "other"} == found
    unlike = lightrft("eval", compare_reports=f"{tmp_path}/both/own,{tmp_path}/once")
    assert unlike.code != 0 and "were not asked the same: 24 have other labels" in unlike.err


@pytest.mark.usefixtures("one_thread")
def test_the_example_runs_on_a_model_that_knows_nothing(
    tiny_folder: Path, lightrft: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    small = {"pretrain": tiny_folder, "output_dir": tmp_path, "generate_max_len": 3, "apply_chat_template": False}
    ended = lightrft("eval", "--config", "examples/eval_benchmarks.yaml", **small, limit=3, reward_workers=1)
    assert ended.code == 0, ended.err
    entry = json.loads((tmp_path / "eval.json").read_text())["benchmarks"]["gsm8k"]
    assert (entry["problems"], entry["answers"], entry["rejected_rows"]) == (3, 2, 0)
    assert entry["maj_at_k"]["2"]["value"] == 0 and entry["source"].endswith("gsm8k_form.jsonl")
    assert len(read_problems(tmp_path / "gsm8k" / "problems.parquet")) == 3


@pytest.mark.usefixtures("one_thread")
def test_a_process_reward_model_steers_searches_from_the_command_on(
    tiny_folder: Path, tiny_model: Command, lightrft: Command, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from lightrft_rewards.models.card import RewardCard
    from lightrft_rewards.models.loading import save_reward_model
    from lightrft_rewards.models.reward_model import RewardModel

    model = RewardModel(tiny_model(seed=3, vocab_size=17, eos_token_id=0))
    (tmp_path / "prm").mkdir()
    card = RewardCard(process=True, step_separator="1", apply_chat_template=False)
    save_reward_model(model, AutoTokenizer.from_pretrained(tiny_folder), tmp_path / "prm", card)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input": f"{i}+{i}=", "label": str(2 * i)}) + "\n" for i in range(6)))
    flags = {"pretrain": tiny_folder, "prompt_data": rows, "rule_reward": "number", "reward_pretrain": tmp_path / "prm"}
    flags |= {"generate_max_len": 12, "temperature": 1.0, "reward_workers": 1, "progress": False}
    flags |= {"max_reward_error_share": 1.0}

    ended = lightrft("eval", **flags, search="best_of_n", n_samples_per_prompt=3, output_dir=tmp_path / "best")
    assert ended.code == 0, ended.err
    entry = json.loads((tmp_path / "best" / "eval.json").read_text())
    assert {"chosen", "best_at_k", "pass_at_k", "accuracy"} <= entry.keys() and "chosen" in ended.out
    for problem in read_problems(tmp_path / "best" / "problems.parquet"):
        assert problem.scores is not None and problem.scores[problem.chosen or 0] == max(problem.scores)

    words = {"search": "beam", "beam_width": 2, "beam_expand": 3, "beam_separator": "1", "beam_step_len": 5}
    ended = lightrft("eval", **flags, **words, output_dir=tmp_path / "beam")
    assert ended.code == 0, ended.err
    entry = json.loads((tmp_path / "beam" / "eval.json").read_text())
    assert {"accuracy", "oracle"} <= entry.keys() and "pass_at_k" not in entry
    for problem in read_problems(tmp_path / "beam" / "problems.parquet"):
        assert problem.chosen == 0 and len(problem.right) <= 2
        assert problem.scores is not None and list(problem.scores) == sorted(problem.scores, reverse=True)
