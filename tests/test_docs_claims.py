"""What pages and recipes say of commands and of measurements holds, and a reader finds every page."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest
import yaml

from lightrft_apps.main import COMMANDS

ROOT = Path(__file__).parents[1]


def test_the_readme_of_the_command_lists_every_command() -> None:
    listed = re.findall(r"^uv run lightrft ([\w-]+)", (ROOT / "apps/README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


def test_no_two_examples_from_python_write_into_one_folder() -> None:
    places = ("apps/README.md", "examples/train_in_python.py", "docs/source/best_practice/sft.md")
    folders = [re.findall(r'output_dir"?[=:] ?"([\w/]+)"', (ROOT / place).read_text()) for place in places]
    every = [folder for found in folders for folder in found]
    assert all(folders) and len(set(every)) == len(every)


@pytest.mark.parametrize("page", ["docs/source/index.md", "README.md"])
@pytest.mark.parametrize("language", ["", "_zh"])
def test_the_first_pages_lead_to_the_plan_and_to_the_engines(page: str, language: str) -> None:
    text, base = (
        (ROOT / page.replace(".md", f"{language}.md")).read_text(),
        "docs/source/" if page == "README.md" else "",
    )
    places = [f"({base}best_practice/{name}{language}.md)" for name in ("plan", "engines/index")]
    assert all(place in text for place in places)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/source/**/*.md")), ids=lambda page: page.name)
def test_lines_of_commands_go_on_by_one_backslash_and_quote_what_the_shell_reads(page: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    assert not re.search(r"\\\\\n", "".join(blocks))
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        assert not re.search(r"(?<![\"'])\b[\w./:,]*\?\w+=", re.sub(r"\"[^\"]*\"|'[^']*'", "''", line)), line


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("examples/*.yaml")), ids=lambda path: path.name)
def test_a_recipe_asks_for_the_extra_of_the_engine_it_samples_with_and_no_other(recipe: Path) -> None:
    text = recipe.read_text()
    assert ("--extra vllm" in text) == (yaml.safe_load(text).get("engine_type") == "vllm")


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("examples/grpo_*_7b.yaml")), ids=lambda path: path.name)
def test_a_recipe_for_several_processes_is_valid_in_them(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightrft_apps.config import parse_rl

    monkeypatch.chdir(ROOT)
    for name, value in {"WORLD_SIZE": "8", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    (command,) = [line[1:] for line in recipe.read_text().splitlines() if "lightrft launch" in line]
    words = shlex.split(command)
    assert parse_rl(words[words.index("rl") + 1 :]).parallel.fsdp


def row_of(report: str) -> str:
    """The line of docs/benchmarks that says what a report holds."""
    page = (ROOT / "docs/benchmarks/README.md").read_text().splitlines()
    (row,) = [line for line in page if f"`{report}.json`" in line]
    return row


def beside_trl(full_length: bool) -> Iterator[tuple[str, Any]]:
    """(prompts x answers, what was found) where all answers have 64 tokens, or where they end by themselves."""
    for key, shape in json.loads((ROOT / "docs/benchmarks/vs_trl.json").read_text())["shapes"].items():
        if key.endswith("64 tokens each") == full_length:
            yield key.split()[0].replace("x", " x "), shape


def spread_of(blocks: Sequence[Any], peer: str) -> str:
    """TRL's seconds over ours, step by step."""
    ratios = [block[peer]["seconds"] / block["lightrft"]["seconds"] for block in blocks]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def test_what_is_said_of_equal_work_beside_trl_is_what_was_measured() -> None:
    """The table, cell by cell, from each step."""
    page = (ROOT / "docs/benchmarks/README.md").read_text()
    for name, shape in beside_trl(full_length=True):
        blocks = [block for run in shape["runs"].values() for block in run["blocks"][1:]]
        assert {length for block in blocks for side in ("trl", "lightrft") for length in block[side]["lengths"]} == {64}
        sides = shape["summary"]["sides"]
        cells = [name]
        for side in ("trl", "lightrft"):
            seconds = median(block[side]["seconds"] for block in blocks)
            sampling = median(block[side]["phases"]["generate"] for block in blocks)
            cells.append(f"{seconds:.1f}, {sampling:.1f}, {sides[side]['seconds_over_floor']['median']:.1f}")
        cells += [spread_of(blocks, "trl"), f"{sides['lightrft']['floor_seconds']['median']:.1f} s"]
        assert f"| {' | '.join(cells)} |" in page
    floor, trl = (sides[name][what]["median"] for name, what in (("lightrft", "floor_seconds"), ("trl", "seconds")))
    assert trl / 4 < floor, "what is said of four times"


def test_what_is_said_of_learning_beside_trl_is_what_was_measured() -> None:
    """Rewards, lengths and seconds of each seed's run, and how far the curves are from each other."""
    page = (ROOT / "docs/benchmarks/README.md").read_text()
    for name, shape in beside_trl(full_length=False):
        for peer in (side for side in shape["settings"]["sides"] if side.startswith("trl")):
            for seed, run in shape["runs"].items():
                cells = [f"{name}, `{peer}`, {seed}"]
                for side in (peer, "lightrft"):
                    steps = [block[side] for block in run["blocks"]]
                    found = [
                        [mean(reward or 0.0 for step in part for reward in step["rewards"]) for part in ends_of(steps)],
                        [mean(length for step in part for length in step["lengths"]) for part in ends_of(steps)],
                    ]
                    seconds = sum(step["seconds"] for step in steps[1:])
                    cells.append("{:.2f} to {:.2f}, {:.0f} to {:.0f}, {:,.0f}".format(*found[0], *found[1], seconds))
                assert f"| {' | '.join([*cells, spread_of(run['blocks'][1:], peer)])} |" in page
    taken = {
        (peer, name): shape["summary"]["ratios"][f"{peer} / lightrft"]["median"]
        for name, shape in beside_trl(full_length=False)
        for peer in shape["settings"]["sides"][:-1]
    }
    mixed, rounded = ([f"{taken[peer, name]:.2f}" for name in ("4 x 4", "16 x 8")] for peer in ("trl-mixed", "trl"))
    words = f"{mixed[0]} at 4 x 4 and {mixed[1]} at 16 x 8 beside `trl-mixed`, {' and '.join(rounded)} beside `trl`."
    assert words in " ".join(page.split())
    (found,) = (
        shape["summary"]["sides"]
        for name, shape in beside_trl(full_length=False)
        if name == "16 x 8" and "trl-mixed" in shape["settings"]["sides"]
    )
    trl, ours = ([*zip(*found[side]["rewards"].values(), strict=True)] for side in ("trl-mixed", "lightrft"))
    less = mean(mean(one) - mean(other) for one, other in zip(trl, ours, strict=True))
    meet = [max(min(one), min(other)) <= min(max(one), max(other)) for one, other in zip(trl, ours, strict=True)]
    said = (
        f"{len(meet)} steps of 16 x 8 LightRFT's mean reward is {less:.2f} less than TRL's on average, and the ranges"
    )
    assert f"{said} of both seeds overlap in {sum(meet)}." in " ".join(page.split())


def ends_of(steps: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """The first three steps and the last three."""
    return steps[:3], steps[-3:]


@pytest.mark.parametrize("page", ["plan.md", "plan_zh.md"])
def test_what_is_said_of_plans_is_what_runs_took(page: str) -> None:
    text, gib = (ROOT / "docs/source/best_practice" / page).read_text(), 2**30
    runs = json.loads((ROOT / "docs/benchmarks/plan.json").read_text())["runs"]
    for run in runs:
        cells, most = [run["name"]], 0
        for name in ("sample", "optimise"):
            phase = run["phases"][name]
            planned = sum(phase["planned_parts"].values())
            most = max(most, planned)
            over = planned / phase["alive"], most / phase["resident"]
            cells += [f"{planned / gib:.2f}", f"{over[0]:.2f}", f"{over[1]:.2f}"]
        assert f"| {' | '.join(cells)} |\n" in text
    assert len(re.findall(r"^\| (?:float32|bf16), ", text, re.MULTILINE)) == len(runs)


def test_what_is_said_of_strategies_is_how_far_their_runs_were() -> None:
    runs = json.loads((ROOT / "docs/benchmarks/strategies.json").read_text())["runs"]
    exact = [run for run in runs if run["way"].endswith("float64")]
    measures = ("relative_difference", "relative_difference_of_any_tensor")
    far = max(value for run in exact for measure in measures for value in run[measure].values())
    loss = max(run["difference_of_loss"] for run in runs if run not in exact)
    row = row_of("strategies")
    assert f"in float64 at most {far:.1e} of them, in float32 losses at most {loss:.1e}" in row
    assert {run["ranks"] for run in runs} == {1, 2, 4} and "on 1, 2 and 4 processes" in row
    assert {run["micro_batch"] for run in runs} == {1, 3, 16} and "at most 1, 3 or 16 sequences a micro-batch" in row


def test_what_is_said_of_sharing_and_of_long_answers_was_measured() -> None:
    rows = json.loads((ROOT / "docs/benchmarks/prefix_sharing.json").read_text())["rows"]
    saved = {
        unit: [row["share_of_ideal_saving"][unit]["median"] for row in rows.values()]
        for unit in ("tokens", "operations")
    }
    tokens, operations = ([f"{share:.0%}" for share in sorted(shares)] for shares in saved.values())
    said = f"{tokens[0]}, {tokens[1]} and {tokens[2]} of the ideal saving in tokens, {operations[0]} to {operations[2]}"
    assert said in row_of("prefix_sharing")
    cases = json.loads((ROOT / "docs/benchmarks/fused_logprobs.json").read_text())["cases"]
    peaks = [case["longer"]["peak_ratio"] for case in cases]
    assert f"at 8192 tokens {min(peaks):.0%} to {max(peaks):.0%} of the peak" in row_of("fused_logprobs")


def test_what_is_said_to_hold_slices_of_layers_was_measured() -> None:
    runs = json.loads((ROOT / "docs/benchmarks/tensor_parallel.json").read_text())["runs"]
    assert {run["held_by"] for run in runs} == {"FSDP2", "ZeRO 1", "ZeRO 2"}
    assert {run["ranks"] for run in runs} == {2, 4}
    assert "layers 2 and 4 processes hold in slices, sharded by FSDP2, ZeRO 1 or ZeRO 2" in row_of("tensor_parallel")


def test_names_that_are_said_to_be_the_same_elsewhere_are_ours() -> None:
    from lightrft_apps.config import RLConfig
    from lightrft_apps.config.reading.schema import ALIASES, fields_of

    page = (ROOT / "docs/source/best_practice/migrating.md").read_text()
    rows = re.findall(r"^\| ([^|]*) \| the same", page, re.MULTILINE)
    named = {name.removeprefix("--").split()[0] for cell in rows for name in re.findall(r"`([^`]+)`", cell)}
    assert len(named) > 50
    assert named - fields_of(RLConfig).keys() - ALIASES.keys() == set()
