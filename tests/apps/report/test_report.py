"""What a page carries: data that comes out as it went in, evenly chosen answers, no secrets; and who writes it."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_apps import RLConfig, train
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.secrets import HIDDEN, without_secrets
from lightrft_apps.recording.trajectories import write_trajectories
from lightrft_apps.reporting.answers import _ends, parts_of
from lightrft_apps.reporting.facts import curves, read_run, recipes
from lightrft_apps.reporting.media import carried
from lightrft_apps.reporting.packed import halves, packed
from lightrft_apps.reporting.selection import answers_in, chosen_of, files_of, gather
from lightrft_apps.reporting.writing import report_at_end, write_report

WriteRun = Callable[..., Path]


def unpacked(block: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """As the page unpacks it, by the letter of the format."""
    content, columns = gzip.decompress(b64decode(block, validate=True)), {}
    length = int.from_bytes(content[:4], "little")
    header = json.loads(content[4 : 4 + length])
    at = 4 + -(-length // 4) * 4
    for name, kind, count in header["columns"]:
        size = int(kind[1])
        planes = np.frombuffer(content, np.uint8, count * size, at).reshape(size, count)
        columns[name] = np.ascontiguousarray(planes.T).reshape(-1).view(f"<{kind}")
        at += -(-count * size // 4) * 4
    assert at == len(content)
    return header, columns


def facts_of(page: Path) -> dict[str, Any]:
    block = re.search(r'id="facts">([^<]*)<', page.read_text())
    assert block is not None
    return unpacked(block[1])[0]


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=30), st.text(max_size=20))
def test_columns_and_texts_come_out_as_they_went_in(numbers: list[float], text: str) -> None:
    column = np.array(numbers, dtype=np.float32)
    small = np.arange(len(numbers), dtype=np.uint8)
    header, columns = unpacked(packed({"text": text}, {"a": column, "b": small, "c": halves(column)}))
    assert header["text"] == text.encode("utf-8", "replace").decode()
    assert np.array_equal(columns["a"], column)
    assert np.array_equal(columns["b"], small)
    fine = np.abs(column) < 6e4
    assert np.allclose(columns["c"][fine], column[fine], rtol=1e-3, atol=1e-7)
    assert np.isfinite(columns["c"]).all()


def test_a_part_holds_the_numbers_of_its_tokens(write_run: WriteRun, tmp_path: Path) -> None:
    path = write_run(tmp_path / "run") / "trajectories" / "step_000001.parquet"
    rows = pq.read_table(path).to_pylist()
    (part,) = parts_of(path, [(4, 4), (8, 4)])
    header, columns = unpacked(part.packed)
    kept = rows[4:]
    assert [answer["sample"] for answer in header["answers"]] == [row["sample"] for row in kept]
    assert list(columns["counts"]) == [4, 4]
    assert list(columns["lengths"]) == [len(row["token_ids"]) for row in kept]
    words = [header["words"][place] for place in columns["words"]]
    assert words == [
        [token, piece] for row in kept for token, piece in zip(row["token_ids"], row["pieces"], strict=True)
    ]
    for name in ("advantages", "entropy", "ratios", "logprobs"):
        expected = np.array([number for row in kept for number in row[name]], dtype=np.float64)
        assert np.allclose(columns[name], expected, rtol=1e-3, atol=1e-6, equal_nan=True), name
    trainer = np.array([number for row in kept for number in row["trainer_logprobs"]], dtype=np.float64)
    engine = np.array([number for row in kept for number in row["logprobs"]])
    assert np.allclose(columns["gap"], trainer - engine, rtol=1e-3, atol=1e-6, equal_nan=True)
    assert list(part.columns["flags"]) == [8 | 16 | (row["finish_reason"] == "length") for row in kept]
    gaps = [np.nanmax(np.abs(np.array(row["trainer_logprobs"], dtype=float) - row["logprobs"])) for row in kept]
    assert np.allclose(part.columns["gap"], gaps, rtol=1e-6)


def test_a_step_ends_at_the_token_that_writes_its_last_letter_special_tokens_left_out() -> None:
    pieces = ["<s>", "ab", "", "cé", "<end>"]
    assert list(_ends([[1, 0.5], [2, 1.0], [3, -1.0], [4, 2.0]], "abcé", pieces)) == [
        (1, 0.5),
        (1, 1.0),
        (3, -1.0),
        (3, 2.0),
    ]
    assert list(_ends([[9, 1.0]], "abcé", pieces)) == []


@pytest.mark.parametrize("most", [1, 2, 5, 8, 33, 10**6])
def test_of_too_many_answers_those_to_evenly_chosen_prompts_are_kept_and_counted(
    write_run: WriteRun, tmp_path: Path, most: int
) -> None:
    folder = write_run(tmp_path / "run", steps=4, prompts=10, answers=2) / "trajectories"
    answers = gather([folder], most)
    assert answers.kept + answers.left_out == 80
    assert answers.kept <= most
    _, index = unpacked(answers.index)
    by_step = [int(index["count"][index["step"] == step].sum()) for step in (1, 2, 3, 4)]
    expected = {1: [0, 0, 0, 0], 2: [2, 0, 0, 0], 5: [2, 0, 2, 0], 8: [2] * 4, 33: [8] * 4}
    assert by_step == expected.get(most, [20] * 4), "as many of each step, or of evenly chosen steps"
    if most == 33:
        places = [group["prompt"].split()[2] for group in unpacked(answers.parts[0])[0]["groups"]]
        assert places == ["0", "2", "5", "7"]


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=30), st.integers(1, 60))
def test_no_choice_of_answers_is_larger_than_it_may_be_nor_empty_without_need(
    counts: list[list[int]], most: int
) -> None:
    files = [[(sum(sizes[:place]), size) for place, size in enumerate(sizes)] for sizes in counts]
    chosen = chosen_of(files, most)
    assert answers_in([group for groups in chosen for group in groups]) <= most
    assert all({*kept} <= {*groups} for kept, groups in zip(chosen, files, strict=True))
    if most >= sum(map(sum, counts)):
        assert chosen == files
    elif any(counts) and most >= 9:
        assert any(chosen)


def test_of_more_files_than_answers_may_be_shown_evenly_chosen_ones_are() -> None:
    chosen = chosen_of([[(8 * group, 8) for group in range(64)] for _ in range(500)], 400)
    with_some = [step for step, groups in enumerate(chosen) if groups]
    assert with_some == list(range(0, 500, 10))
    assert sum(map(answers_in, chosen)) == 400


def test_files_without_rows_and_damaged_ones_end_no_report_and_are_named(
    write_run: WriteRun, lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", steps=4)
    first, torn, cut = (folder / "trajectories" / f"step_{step:06d}.parquet" for step in (1, 2, 3))
    write_trajectories(first, 1, [], None)
    torn.write_text("torn")
    content = bytearray(cut.read_bytes())
    rows = pq.ParquetFile(cut).metadata.row_group(0)
    place = next(
        column.dictionary_page_offset or column.data_page_offset
        for column in map(rows.column, range(rows.num_columns))
        if column.path_in_schema == "response"
    )
    content[place : place + 40] = b"\xff" * 40
    cut.write_bytes(content)
    ended = lightrft("report", str(folder))
    assert ended.code == 0, ended.err
    assert "1 runs, 12 answers\n" in ended.err
    told = [line for line in ended.err.splitlines() if line.startswith("left out: ")]
    assert [line.split()[2] for line in told] == [f"run/trajectories/{path.name}" for path in (torn, cut)]
    facts = facts_of(folder / "report.html")
    assert (facts["kept"], facts["left_out"], facts["unread"]) == (12, 0, [line[10:] for line in told])
    warned: list[str] = []
    report_at_end(RunDirectory(folder), warned.append)
    assert [torn.name in warned[0], cut.name in warned[1], len(warned)] == [True, True, 2]


def test_few_rows_of_a_file_of_many_row_groups_are_those_that_were_asked_for(
    write_run: WriteRun, tmp_path: Path
) -> None:
    path = write_run(tmp_path / "run", steps=1, prompts=30, answers=2) / "trajectories" / "step_000001.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=7)
    (part,) = parts_of(path, [(0, 2), (6, 2), (34, 2), (58, 2)])
    groups = unpacked(part.packed)[0]["groups"]
    assert [group["prompt"].split()[2] for group in groups] == ["0", "3", "17", "29"]


def test_numbers_that_json_does_not_know_leave_a_page_readable(tmp_path: Path) -> None:
    header, _ = unpacked(packed({"a": [float("nan"), {"b": float("-inf")}, 1.5]}))
    assert header["a"] == [None, {"b": None}, 1.5]


def test_media_are_carried_by_their_hashes_in_four_types_and_as_many_as_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, page = ("1" * 64, "2" * 64, "3" * 64)
    for name in (f"{one}.png", f"{other}.wav", f"{page}.html", "../secret.png"):
        (tmp_path / "media").mkdir(exist_ok=True)
        (tmp_path / "media" / name).write_bytes(b"0123456789")
    wanted = [one, other, page, "../secret", "not there"]
    assert carried([tmp_path / "media"], wanted).types == {one: "image/png", other: "audio/wav"}
    assert b64decode(carried([tmp_path / "media"], wanted).files[one]) == b"0123456789"
    monkeypatch.setattr("lightrft_apps.reporting.media.LARGEST", 15)
    assert (carried([tmp_path / "media"], wanted).types, carried([tmp_path / "media"], wanted).left_out) == (
        {one: "image/png"},
        1,
    )


def test_long_files_are_cut_into_parts_at_prompts(
    write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "run", steps=1, prompts=7, answers=3) / "trajectories"
    whole = gather([folder], 10**6)
    monkeypatch.setattr("lightrft_apps.reporting.answers.TOKENS_IN_A_PART", 50)
    cut = gather([folder], 10**6)
    assert (len(whole.parts), len(cut.parts)) == (1, 4)
    joined = [group for part in cut.parts for group in unpacked(part)[0]["groups"]]
    assert joined == unpacked(whole.parts[0])[0]["groups"]
    ((file,), _) = files_of([folder])
    assert (file.kind, file.step) == ("step", 1)


def test_answers_of_older_runs_are_shown_without_what_they_lack(write_run: WriteRun, tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", steps=1) / "trajectories" / "step_000001.parquet"
    table = pq.read_table(path)
    pq.write_table(
        table.select(["step", "prompt_uid", "occurrence", "sample", "token_ids", "response", "reward"]), path
    )
    answers = gather([path.parent], 100)
    header, columns = unpacked(answers.parts[0])
    assert header["answers"][0]["response"] == table["response"][0].as_py()
    assert np.isnan(columns["advantages"]).all()


def test_runs_that_differ_in_their_seed_alone_are_one_recipe(write_run: WriteRun, tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / f"s{seed}", steps=1, seed=seed), f"s{seed}") for seed in (1, 2)]
    other = write_run(tmp_path / "other", steps=1)
    (other / "config.yaml").write_text((other / "config.yaml").read_text().replace("grpo", "rloo"))
    runs.append(read_run(other, "other"))
    assert recipes(runs) == [[0, 1], [2]]
    assert [number for number, *_ in curves(runs)["reward/mean"]] == [0, 1, 2]


def test_curves_of_many_steps_are_thinned_to_means_and_leave_out_what_is_no_number(tmp_path: Path) -> None:
    lines = [{"step": step, "a": float(step), "b": "x", "c": None} for step in range(1, 2001)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    found = curves([read_run(tmp_path, "run")])
    assert found.keys() == {"a"}
    ((_, steps, values),) = found["a"]
    assert (steps[0], values[0], steps[-1], len(steps)) == (3, 2.0, 2000, 667)


def test_runs_of_different_length_are_thinned_to_means_of_the_same_steps(tmp_path: Path) -> None:
    for name, steps in (("short", 1000), ("long", 3000)):
        (tmp_path / name).mkdir()
        lines = [{"step": step, "a": float(step)} for step in range(steps + 1)]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    short, long = curves([read_run(tmp_path / name, name) for name in ("short", "long")])["a"]
    assert len(long[1]) <= 800
    assert short[1] == long[1][: len(short[1])], "or no band has two values"
    assert short[2] == long[2][: len(short[2])]


def test_no_secret_reaches_the_page(write_run: WriteRun, tmp_path: Path) -> None:
    secrets = ["hunter2hunter2", "sk-abcdefghijklmnop", "hf_abcdefghijklmnopqrst", "p4ssw0rd", "q_token_1"]
    folder = write_run(tmp_path / "run", steps=1)
    with (folder / "config.yaml").open("a") as file:
        file.write(f"api_key: {secrets[0]}\nnested: {{inner: [{secrets[1]}], password: {secrets[3]}}}\n")
        file.write(
            f"tracker: use {secrets[2]} now\nremote_rm_url: http://me:{secrets[3]}@host/x?token={secrets[4]}&a=1\n"
        )
    write_report([folder], tmp_path / "report.html")
    carried = json.dumps(facts_of(tmp_path / "report.html"))
    assert [secret for secret in secrets if secret in carried] == []
    assert HIDDEN in carried
    assert "http://" in carried


def test_flags_that_look_like_secrets_and_are_none_are_shown() -> None:
    flags = {"input_key": "problem", "max_tokens_per_micro_batch": 5, "stop_token_ids": [1], "route_key": "r"}
    assert without_secrets(flags, flags.keys()) == flags


def test_a_run_writes_its_page_at_its_end_with_the_texts_of_its_tokens(flags: dict[str, Any], tmp_path: Path) -> None:
    train(RLConfig.create(**flags, eval_dataset=flags["prompt_data"]))
    facts = facts_of(tmp_path / "run" / "report.html")
    assert (facts["runs"][0]["command"], facts["kept"], facts["left_out"]) == ("rl", 32, 0)
    assert {row["name"] for row in facts["runs"][0]["config"][0]["rows"]} >= {"pretrain", "bf16"}
    changed = {row["name"] for section in facts["runs"][0]["config"] for row in section["rows"] if row["changed"]}
    assert {"pretrain", "generate_max_len"} <= changed
    assert "seed" not in changed
    for row in pq.read_table(tmp_path / "run" / "trajectories" / "step_000001.parquet").to_pylist():
        assert "".join(piece for piece in row["pieces"] if piece not in ("?", "<end>")) == row["response"]


def test_a_page_that_cannot_be_written_ends_no_run(write_run: WriteRun, tmp_path: Path) -> None:
    told: list[str] = []
    folder = write_run(tmp_path / "run", steps=1)
    (folder / "report.html.unfinished").mkdir()
    report_at_end(RunDirectory(folder), told.append)
    assert len(told) == 1
    assert "lightrft report" in told[0]
    assert not (folder / "report.html").exists()


def test_the_command_writes_one_page_of_all_runs_below_a_folder_and_says_what_is_left_out(
    write_run: WriteRun, lightrft: Callable[..., Any], tmp_path: Path
) -> None:
    for seed in (1, 2):
        write_run(tmp_path / "all" / f"seed_{seed}", seed=seed)
    ended = lightrft("report", str(tmp_path / "all"), max_trajectories=24)
    assert ended.code == 0, ended.err
    assert "2 runs, 16 answers (32 left out: --max_trajectories 24)" in ended.err
    facts = facts_of(tmp_path / "all" / "report.html")
    assert [run["name"] for run in facts["runs"]] == ["seed_1", "seed_2"]
    assert facts["recipes"] == [[0, 1]]


def test_the_command_refuses_folders_without_runs(lightrft: Callable[..., Any], tmp_path: Path) -> None:
    ended = lightrft("report", str(tmp_path / "nowhere"))
    assert ended.code == 2
    assert "there is no such folder" in ended.err
    ended = lightrft("report", str(tmp_path))
    assert ended.code == 2
    assert "holds no run" in ended.err
    assert lightrft("report").code == 2


def test_a_page_is_written_without_torch(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", steps=1)
    code = f"from lightrft_apps.commands.report import main; main([{str(folder)!r}])"
    code += "; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"
