"""`lightrft compare`: every algorithm with every seed, once; then one table, one picture and every number."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from xml.etree import ElementTree

import pytest
import yaml

from lightrft_apps import comparison
from lightrft_apps.config.commands.quickstart import DEFAULTS

from ..forked import a_pipe, start

Command = Callable[..., Any]

REWARD = """
def score(prompts, responses, labels):
    return [sum(letter in "02468" for letter in response) / max(1, len(response)) for response in responses]
"""


@dataclass(frozen=True)
class Compared:
    """A comparison of two algorithms with two seeds each, as it was when it ended."""

    folder: Path
    words: list[str]
    out: str
    err: str
    found: dict[str, Any]
    page: str
    picture: str

    def summary(self, algorithm: str, seed: int) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.folder / algorithm / f"seed_{seed}" / "summary.json").read_text())
        return summary

    def metrics(self, algorithm: str, seed: int) -> list[dict[str, float]]:
        lines = (self.folder / algorithm / f"seed_{seed}" / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


class Forked:
    """Does as subprocess.Popen would with a run's command, in a process that need not import anything first.

    That the command is right is seen where a run fails, below: there it is started as ever.
    """

    def __init__(self, command: list[str], **_: Any) -> None:
        self.output, theirs = a_pipe(duplex=False)
        self.process = start(lightrft_in_a_fork, command[command.index("lightrft_apps") + 1 :], theirs)
        theirs.close()
        self.stdout = os.fdopen(os.dup(self.output.fileno()), encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.process.join()
        self.returncode = self.process.exitcode


def lightrft_in_a_fork(words: list[str], output: Connection) -> None:
    import torch

    from lightrft_apps.main import main

    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    torch.set_num_threads(1)
    sys.argv = ["lightrft", *words]
    main()


@pytest.fixture(scope="module")
def compared(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    place = tmp_path_factory.mktemp("comparison")
    model, prompts, reward, folder = place / "a & <b>", place / "p.jsonl", place / "reward.py", place / "out"
    model.symlink_to(tiny_folder)
    prompts.write_text("".join(json.dumps({"input": f"{i}+{i}=", "label": str(2 * i)}) + "\n" for i in range(8)))
    reward.write_text(REWARD)
    flags = {
        "task": "custom",
        "pretrain": model,
        "prompt_data": prompts,
        "eval_dataset": prompts,
        "eval_steps": 1,
        "reward_fn": f"{reward}:score",
        "output_dir": folder,
        "rollout_batch_size": 4,
        "n_samples_per_prompt": 4,
        "generate_max_len": 6,
        "max_steps": 2,
        "actor_learning_rate": 0.003,
        "reward_workers": 1,
    }
    words = [f"--{name}={value}" for name, value in flags.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with pytest.MonkeyPatch.context() as forking:
            forking.setattr(comparison.runs, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": Forked}))
            out, err = run(["--algorithms=grpo,dapo", "--seeds=1,2", *words])
        page, picture = (folder / "compare.md").read_text(), (folder / "compare.svg").read_text()
        yield Compared(folder, words, out, err, json.loads((folder / "compare.json").read_text()), page, picture)


def run(words: list[str]) -> tuple[str, str]:
    from lightrft_apps.commands.compare import main

    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        main(words)
    return out.getvalue(), err.getvalue()


def test_runs_follow_one_another_seed_by_seed_and_show_their_steps(compared: Compared) -> None:
    headings = [line.split(",")[:2] for line in compared.err.splitlines() if line.startswith("run ") and "into" in line]
    assert [",".join(heading) for heading in headings] == [
        "run 1 of 4: grpo, seed 1",
        "run 2 of 4: dapo, seed 1",
        "run 3 of 4: grpo, seed 2",
        "run 4 of 4: dapo, seed 2",
    ]
    assert compared.err.count("  step    2  reward") == 4
    assert "step    2" in (compared.folder / "dapo" / "seed_2.log").read_text()


def test_each_run_has_its_own_seed_and_its_algorithms_own_settings(compared: Compared) -> None:
    grpo, dapo = (yaml.safe_load((compared.folder / name / "seed_2.yaml").read_text()) for name in ("grpo", "dapo"))
    differing = {name: (grpo[name], dapo[name]) for name in grpo if grpo[name] != dapo[name]}
    places = tuple(str(compared.folder / name / "seed_2") for name in ("grpo", "dapo"))
    assert differing == {"algorithm": ("grpo", "dapo"), "output_dir": places}
    assert grpo["seed"] == 2
    assert "policy/kl_reference" in compared.metrics("grpo", 1)[1]
    assert "policy/kl_reference" not in compared.metrics("dapo", 1)[1]


def test_a_finished_run_keeps_its_model_and_not_its_checkpoints(compared: Compared) -> None:
    for algorithm in ("grpo", "dapo"):
        run = compared.folder / algorithm / "seed_1"
        assert (run / "final" / "model.safetensors").is_file()
        assert not (run / "checkpoints").exists()


def test_the_file_has_what_each_run_says_of_itself(compared: Compared) -> None:
    assert [(run["algorithm"], run["seed"]) for run in compared.found["runs"]] == [
        ("grpo", 1),
        ("dapo", 1),
        ("grpo", 2),
        ("dapo", 2),
    ]
    for run in compared.found["runs"]:
        summary, lines = (read(run["algorithm"], run["seed"]) for read in (compared.summary, compared.metrics))
        assert {name: run[name] for name in summary} == summary
        assert run["lengths"] == [line["rollout/length_mean"] for line in lines[1:]]
        assert run["entropies"] == [line["rollout/entropy_estimate"] for line in lines[1:]]
        assert [(e["step"], e["value"]) for e in run["evaluations"]] == [
            (i, lines[i]["eval/accuracy"]) for i in range(3)
        ]
        assert run["evaluations"][0]["interval"] == pytest.approx(summary["accuracy_before"]["interval"])
        assert run["evaluations"][2]["interval"] == pytest.approx(summary["accuracy_after"]["interval"])


def test_rewards_are_compared_without_a_penalty_that_only_some_algorithms_have(compared: Compared) -> None:
    for run in compared.found["runs"]:
        lines = compared.metrics(run["algorithm"], run["seed"])[1:]
        penalties = [line.get("reward/part/overlong", 0.0) for line in lines]
        assert any(penalties) == (run["algorithm"] == "dapo")
        bare = [line["reward/mean"] - penalty for line, penalty in zip(lines, penalties, strict=True)]
        assert run["task_rewards"] == bare
        assert run["reward_area"] == pytest.approx(sum(bare) / 2)


def test_seeds_are_pooled_and_their_range_is_kept(compared: Compared) -> None:
    from lightrft_core.evaluation import wilson_interval

    for over in compared.found["by_algorithm"]:
        runs = [run for run in compared.found["runs"] if run["algorithm"] == over["algorithm"]]
        shares = [run["accuracy_after"]["value"] for run in runs]
        after = over["accuracy_after"]
        assert (after["value"], after["n"]) == (pytest.approx(sum(shares) / 2), 16)
        assert after["interval"] == pytest.approx(wilson_interval(after["value"], 16))
        assert (after["lowest"], after["highest"]) == (min(shares), max(shares))
        for step in range(2):
            values = [run["rewards"][step] for run in runs]
            assert over["rewards"]["mean"][step] == pytest.approx(sum(values) / 2)
            assert (over["rewards"]["lowest"][step], over["rewards"]["highest"][step]) == (min(values), max(values))
    assert "Wilson" in compared.found["meanings"]["accuracy"]


def test_the_table_has_the_runs_own_numbers(compared: Compared) -> None:
    rows = [line.strip("| ").split("|") for line in compared.page.splitlines() if line.startswith("| ")][2:]
    assert compared.page in compared.out
    for name, row in zip(("grpo", "dapo"), rows, strict=True):
        summaries = [compared.summary(name, seed) for seed in (1, 2)]
        algorithm, seeds, before, after, _, _, length, seconds = (cell.strip() for cell in row)
        assert (algorithm, seeds) == (name, "2")
        assert before == f"{sum(s['accuracy_before']['value'] for s in summaries) / 2:.1%}"
        assert after.startswith(f"{sum(s['accuracy_after']['value'] for s in summaries) / 2:.1%} (")
        assert seconds == f"{sum(s['seconds'] for s in summaries) / 2:.0f}"
        assert length == f"{sum(compared.metrics(name, seed)[-1]['rollout/length_mean'] for seed in (1, 2)) / 2:.1f}"
    rewards = [reward for seed in (1, 2) for reward in compared.summary("grpo", seed)["rewards"]]
    assert rows[0][4].strip() == f"{sum(rewards) / 4:.3f}"


def test_the_picture_is_xml_with_a_line_an_algorithm(compared: Compared) -> None:
    root = ElementTree.fromstring(compared.picture)
    named = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{named}text")]
    assert texts[0] == "2 algorithms on custom, a & <b>"
    assert {"grpo", "dapo"} <= set(texts)
    assert len(root.findall(f"{named}polyline")) == len(root.findall(f"{named}polygon")) == 2


def test_what_is_finished_is_not_repeated_and_a_failing_run_stops_no_other(compared: Compared) -> None:
    (compared.folder / "grpo" / "seed_3").write_text("in the way")
    files = sorted(compared.folder.glob("grpo/seed_[12]/**/*"))
    before = {path: path.stat().st_mtime_ns for path in files}
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as end, redirect_stdout(out), redirect_stderr(err):
        from lightrft_apps.commands.compare import main

        main(["--algorithms=grpo", "--seeds=3,1,2", *compared.words])
    assert end.value.code == 1
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert "run 1 of 3: grpo, seed 3: FAILED with exit code 2; its last lines:\n  lightrft rl: " in err.getvalue()
    assert "run 3 of 3: grpo, seed 2: finished before" in err.getvalue()
    found = json.loads((compared.folder / "compare.json").read_text())
    (missing,) = found["missing"]
    assert (missing["algorithm"], missing["seed"], missing["exit_code"]) == ("grpo", 3, 2)
    assert "is a file; set it to a folder" in missing["last_lines"][-1]
    (grpo,) = found["by_algorithm"]
    assert (grpo["seeds"], grpo["missing_seeds"]) == ([1, 2], [3])
    assert grpo["rewards"] == compared.found["by_algorithm"][0]["rewards"]
    assert "| 2 of 3 |" in out.getvalue()
    assert "- grpo, seed 3 ended with exit code 2: `lightrft rl: " in (compared.folder / "compare.md").read_text()
    assert "missing: grpo seed 3" in (compared.folder / "compare.svg").read_text()


def test_sums_is_the_quick_start_with_each_algorithms_own_divergence(lightrft: Command) -> None:
    shown = yaml.safe_load(lightrft("compare", "--print_config", algorithms="grpo", max_steps=3).out)
    same = {name: value for name, value in DEFAULTS.items() if name not in ("init_kl_coef", "max_steps", "output_dir")}
    assert {name: shown[name] for name in same} == same
    assert (shown["init_kl_coef"], shown["max_steps"], shown["output_dir"]) == (None, 3, "runs/compare")


def test_a_custom_task_has_to_be_given(lightrft: Command) -> None:
    ended = lightrft("compare", algorithms="grpo", task="custom")
    assert ended.code == 2
    for name in ("pretrain", "prompt_data", "output_dir"):
        assert f"lightrft compare: --{name} is needed" in ended.err


def test_a_task_may_stand_in_a_file(lightrft: Command, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text('task: custom\nalgorithms: grpo\nseeds: "1"\nalgorithm: dapo\nbf16: true\n')
    ended = lightrft("compare", config=tmp_path / "c.yaml")
    assert "--pretrain is needed" in ended.err


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (
            {"algorithms": "grpo,dapoo"},
            "--algorithms: there is no algorithm 'dapoo'; did you mean dapo? There are grpo,",
        ),
        ({"algorithms": "grpo,dapo,grpo"}, "--algorithms grpo,dapo,grpo: grpo is there twice"),
        ({"algorithms": " , "}, "--algorithms names nothing"),
        ({"algorithms": "grpo", "seeds": "1,two"}, "--seeds 1,two: 'two' is no seed"),
        ({"algorithms": "grpo", "seeds": "1,1"}, "--seeds 1,1: 1 is there twice"),
        ({"algorithms": "grpo", "seed": 3}, "--seed is set by --seeds, run by run: leave it out"),
        ({"algorithms": "grpo", "algorithm": "dapo"}, "--algorithm is set by --algorithms, run by run: leave it out"),
        ({"algorithms": "grpo", "task": "subtraction"}, "--task subtraction: expected one of sums, custom"),
        ({"algorithms": "grpo,ppo", "lambd": 0.9}, "grpo: --lambd has no effect"),
        ({"algorithms": "grpo,ppo", "max_steps": 0}, "--max_steps 0: set it to 1 or more"),
        ({}, "--algorithms is needed"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused_before_anything_starts(
    flags: dict[str, Any], complaint: str, lightrft: Command, tmp_path: Path
) -> None:
    ended = lightrft("compare", **{"output_dir": tmp_path / "out"} | flags)
    assert (ended.code, ended.out) == (2, "")
    assert f"lightrft compare: {complaint}" in ended.err
    assert not (tmp_path / "out").exists()
