"""--profile_steps: a trace of each of these steps with its phases, and a table whose shares add up to each phase."""

from __future__ import annotations

import gzip
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from torch.autograd import DeviceType

from lightrft_apps import RLConfig, train
from lightrft_apps.config import ConfigError, check, profiled_steps
from lightrft_apps.recording.operator_table import OUTSIDE, TOP, Row, table
from lightrft_apps.recording.profiling import SPAN, Profiler, operators
from lightrft_core import OneRank

PHASES = {"sample", "judge", "estimate", "optimise", "publish"}


def sections(text: str) -> dict[str, list[list[str]]]:
    """Phase -> the rows of its table, without its head."""
    found = {}
    for part in text.split("\n## ")[1:]:
        lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
        found[part.partition(":")[0]] = lines[2:]
    return found


def percent(cell: str) -> float:
    return float(cell.removesuffix("%"))


@pytest.mark.usefixtures("one_thread")
def test_a_profiled_step_leaves_a_trace_with_its_phases_and_a_table_that_adds_up(
    flags: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(RLConfig.create(**flags, profile_steps="2-2", save_steps=1, progress=False))
    folder = tmp_path / "run" / "profile"
    assert sorted(path.name for path in folder.iterdir()) == ["operators_000002.md", "step_000002_rank_0.json.gz"]
    trace = json.loads(gzip.decompress((folder / "step_000002_rank_0.json.gz").read_bytes()))
    names = [event.get("name", "") for event in trace["traceEvents"]]
    assert {name.removeprefix(SPAN) for name in names if name.startswith(SPAN)} == PHASES
    assert {"aten::mm", "aten::_fused_adamw_"} & set(names)
    assert not any("Input Dims" in event.get("args", {}) for event in trace["traceEvents"])
    text = (folder / "operators_000002.md").read_text()
    phases = sections(text)
    assert phases.keys() == PHASES and "step 2, 1 rank." in text
    for rows in phases.values():
        *named, whole = rows
        assert whole[0] == "**all**" and whole[3] == "100.00%"
        assert sum(int(row[1]) for row in named) == int(whole[1])
        assert sum(float(row[2]) for row in named) == pytest.approx(float(whole[2]), abs=0.01)
        assert sum(percent(row[3]) for row in named) == pytest.approx(100, abs=0.2)
    line = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()][1]
    seconds = float(re.findall(r"## optimise: ([\d.]+) s", text)[0])
    assert 0.5 * line["time/optimise"] < seconds < 1.5 * line["time/optimise"] + 0.01
    assert re.search(r"step 2 profiled: .*step_000002_rank_0.json.gz has \d+\.\d MiB", capsys.readouterr().err)


def test_each_step_is_a_trace_of_its_own_and_the_table_is_of_all(tmp_path: Path) -> None:
    said: list[str] = []
    profiler = Profiler(tmp_path / "profile", range(2, 4), OneRank(), said.append)
    for step in range(1, 5):
        for name in ("sample", "judge", "sample"):
            with profiler.phase(name, step):
                time.sleep(0.002)
        profiler.finish(step)
        with profiler.phase("checkpoint", step):
            pass
    names = ["operators_000002-000003.md", "step_000002_rank_0.json.gz", "step_000003_rank_0.json.gz"]
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == names
    assert len(said) == 2 and profiler.running is None
    text = (tmp_path / "profile" / "operators_000002-000003.md").read_text()
    assert "steps 2, 3, 1 rank." in text
    assert sections(text)["sample"][0][:2] == [OUTSIDE, "4"]


def profile(folder: Path, steps: range) -> None:
    profiler = Profiler(folder, range(2, 5), OneRank(), lambda said: None)
    for step in steps:
        with profiler.phase("sample", step):
            pass
        profiler.finish(step)


def test_a_resumed_run_leaves_the_table_of_more_steps_that_was_made_before(tmp_path: Path) -> None:
    profile(tmp_path, range(2, 5))
    before = (tmp_path / "operators_000002-000004.md").read_bytes()
    profile(tmp_path, range(4, 5))
    assert (tmp_path / "operators_000002-000004.md").read_bytes() == before
    assert "step 4, 1 rank." in (tmp_path / "operators_000004.md").read_text()


def test_a_trace_has_its_name_only_once_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(source: IO[bytes], packed: IO[bytes]) -> None:
        packed.write(source.read(9))
        seen.extend(path.name for path in tmp_path.iterdir())
        raise OSError("no more")

    seen: list[str] = []
    monkeypatch.setattr("shutil.copyfileobj", torn)
    with pytest.raises(OSError, match="no more"):
        profile(tmp_path, range(2, 3))
    assert seen and all(name.endswith(".unfinished") for name in seen)
    assert list(tmp_path.iterdir()) == []


def event(
    name: str, start: float, end: float, self_time: float, device: float = 0.0, kind: Any = DeviceType.CPU
) -> Any:
    return SimpleNamespace(
        name=name,
        device_type=kind,
        time_range=SimpleNamespace(start=start, end=end),
        self_cpu_time_total=self_time,
        self_device_time_total=device,
    )


def test_an_operator_is_counted_in_the_phase_it_began_in_whatever_its_thread() -> None:
    events = [
        event("before", 0, 5, 5),
        event(SPAN + "judge", 10, 20, 4),
        event("mm", 12, 18, 6e6),
        event(SPAN + "optimise", 30, 40, 1),
        event("mm", 30, 35, 5e6, device=7e6),
        event("mm", 36, 39, 3e6),
        event("kernel", 36, 39, 0, device=3e6, kind=DeviceType.CUDA),
        event("after", 41, 45, 4),
    ]
    rows = {row[:2]: row[2:] for row in operators(events)}
    assert rows == {
        ("judge", OUTSIDE): (1, 4e-6, 0.0),
        ("judge", "mm"): (1, 6.0, 0.0),
        ("optimise", OUTSIDE): (1, 1e-6, 0.0),
        ("optimise", "mm"): (2, 8.0, 7.0),
    }


def test_the_table_adds_ranks_up_names_the_top_and_orders_by_the_devices_time() -> None:
    rows = [Row("sample", f"op{i}", 1, 1.0 + i / 100, 0.0) for i in range(TOP + 5)] * 2
    rows += [Row("optimise", "host", 1, 9.0, 1.0), Row("optimise", "launch", 2, 1.0, 3.0)]
    text = table(rows, [3, 4], 2)
    phases = sections(text)
    assert list(phases) == ["sample", "optimise"], "the longest first"
    assert [row[0] for row in phases["sample"]] == [*(f"op{i}" for i in range(TOP + 4, 4, -1)), "(5 others)", "**all**"]
    assert phases["sample"][0][1:3] == ["2", "2380.000"]
    assert phases["optimise"] == [
        ["launch", "2", "1000.000", "10.00%", "3000.000", "75.00%"],
        ["host", "1", "9000.000", "90.00%", "1000.000", "25.00%"],
        ["**all**", "3", "10000.000", "100.00%", "4000.000", "100.00%"],
    ]
    assert "steps 3, 4, 2 ranks." in text


def test_steps_are_written_with_a_dash() -> None:
    assert profiled_steps("3-5") == range(3, 6)
    assert profiled_steps("7") == range(7, 8)
    assert profiled_steps(None) == range(0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("3-", "such as 3-4"),
        ("-4", "such as 3-4"),
        ("a-b", "such as 3-4"),
        ("1-2-3", "such as 3-4"),
        ("0-1", "steps count from 1"),
        ("5-4", "steps count from 1"),
        ("1-11", "10 steps or fewer"),
        ("2-4", "the run has 3 steps"),
    ],
)
def test_steps_that_cannot_be_profiled_are_told_before_anything_loads(
    text: str, complaint: str, tmp_path: Path
) -> None:
    config = RLConfig.create(
        pretrain="smollm2",
        prompt_data="reasoning_gym:chain_sum",
        rule_reward="number",
        max_steps=3,
        output_dir=str(tmp_path / "run"),
        profile_steps=text,
    )
    (problem,) = check(config)
    assert problem.startswith(f"--profile_steps {text}: ") and complaint in problem


def test_steps_beyond_the_prompts_are_told_once_these_are_read(flags: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--profile_steps 2-3: the run has 2 steps"):
        train(RLConfig.create(**flags, profile_steps="2-3"))
