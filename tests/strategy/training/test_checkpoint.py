"""A checkpoint is read back bit by bit in any layout, and never if a bit of it is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from lightrft_core import OneRank
from lightrft_strategy.checkpoints import checkpoints, newest_whole, write_checkpoint
from lightrft_strategy.manifest import read_manifest, write_manifest
from lightrft_strategy.training.checkpoint import load_tensors, save_tensors
from lightrft_strategy.training.stored import open_tensors

from . import checkpoint_runs as runs
from .checkpoint_runs import MESHES, WORLD, Layout, Spec, any_bits, bits, full_disk, full_tensors
from .processes import Processes

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8]
STATE = {
    "master.up": any_bits((5, 3), torch.float32, 1),
    "adam.step.up": torch.tensor(3.0),
    "count": torch.tensor(2**62 + 1),
    "exact": torch.tensor(0.1, dtype=torch.float64),
    "half": any_bits((2, 2, 2), torch.bfloat16, 2),
    "flags": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 3, dtype=torch.bfloat16),
}


def blank(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(bits(ours[name]), bits(theirs[name])) for name in ours)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_tensors(tmp_path / "policy", STATE, {"attempts": 7}, OneRank())
    return tmp_path / "policy"


@st.composite
def layouts(draw: Any, ndim: int, world_size: int) -> Layout:
    fitting = [name for name, ranks in MESHES.items() if torch.tensor(ranks).max() < world_size]
    mesh = draw(st.sampled_from(["", *fitting]))
    dims = st.sampled_from([None, *range(ndim)])
    return Layout(mesh, tuple(draw(dims) for _ in range(torch.tensor(MESHES[mesh]).ndim)) if mesh else ())


@st.composite
def round_trips(draw: Any) -> tuple[list[Spec], int, int]:
    savers, loaders = draw(st.integers(1, WORLD)), draw(st.integers(1, WORLD))
    specs = []
    for _ in range(draw(st.integers(1, 4))):
        shape = tuple(draw(st.lists(st.integers(0, 7), max_size=3)))
        here, there = draw(layouts(len(shape), savers)), draw(layouts(len(shape), loaders))
        specs.append(Spec(shape, draw(st.sampled_from(DTYPES)), here, there))
    return specs, savers, loaders


def check_files_by_hand(folder: Path, full: Mapping[str, Tensor]) -> None:
    """Every element lies in exactly one file, every file is as the manifest says."""
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {path.name: load_file(path) for path in folder.glob("*.safetensors")}
    assert manifest["files"] == {
        name: {
            "bytes": (folder / name).stat().st_size,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        }
        for name in files
    }
    assert sum(len(tensors) for tensors in files.values()) == sum(
        len(t["regions"]) for t in manifest["tensors"].values()
    )
    for name, tensor in full.items():
        entry, times = manifest["tensors"][name], torch.zeros(tensor.shape, dtype=torch.int64)
        assert (entry["dtype"], entry["shape"]) == (str(tensor.dtype)[6:], list(tensor.shape))
        for region in entry["regions"]:
            box = tuple(slice(at, at + size) for at, size in zip(region["offsets"], region["sizes"], strict=True))
            assert torch.equal(bits(files[region["file"]][name]), bits(tensor[box]))
            times[box] += 1
        assert (times == 1).all()


@pytest.mark.parametrize("examples", [25, pytest.param(500, marks=pytest.mark.proof)])
def test_any_layout_on_any_ranks_is_read_bit_by_bit_into_any_other(
    processes: Callable[[int], Processes], tmp_path: Path, examples: int
) -> None:
    number = count()

    @settings(max_examples=examples)
    @given(round_trips())
    def check(case: tuple[list[Spec], int, int]) -> None:
        folder = tmp_path / str(next(number))
        assert processes(WORLD).run(runs.round_trip, folder, *case) == [[]] * WORLD
        full = full_tensors(case[0])
        assert equal(dict(open_tensors(folder, OneRank())), full)
        check_files_by_hand(folder, full)

    check()


@pytest.mark.parametrize("saver", [runs.fsdp2, runs.tensor_parallel])
def test_what_fsdp2_shards_is_read_whole(processes: Callable[[int], Processes], tmp_path: Path, saver) -> None:
    expected = processes(WORLD).run(saver, tmp_path / "policy")[0]
    found = blank(expected)
    load_tensors(tmp_path / "policy", found, OneRank())
    assert equal(found, expected)
    if saver is runs.fsdp2:
        assert processes(WORLD).run(runs.fsdp2_loads, tmp_path / "policy", expected) == [True] * WORLD


def test_a_checkpoint_of_one_process_is_read_by_fsdp2(processes: Callable[[int], Processes], tmp_path: Path) -> None:
    state = {name: tensor.detach() for name, tensor in runs.net().state_dict().items()}
    save_tensors(tmp_path / "policy", state, {}, OneRank())
    assert processes(WORLD).run(runs.fsdp2_loads, tmp_path / "policy", state) == [True] * WORLD


def test_scalars_empty_tensors_and_every_dtype_come_back(saved: Path) -> None:
    found = blank(STATE)
    assert load_tensors(saved, found, OneRank()) == {"attempts": 7}
    assert equal(found, STATE)
    check_files_by_hand(saved, STATE)
    stored = open_tensors(saved, OneRank())
    assert [stored[name].dtype for name in STATE] == [tensor.dtype for tensor in STATE.values()]
    assert stored.counters == {"attempts": 7}


def test_tensors_that_are_views_are_saved_as_they_look(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    views = {"transposed": base.T, "strided": base[::2, 1::2], "row": base[1], "same": base}
    save_tensors(tmp_path / "policy", views, {}, OneRank())
    assert equal(dict(open_tensors(tmp_path / "policy", OneRank())), views)


class Lazy(Mapping[str, Tensor]):
    """Gathers a tensor when it is asked for, which all ranks must do equally often and in the same order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        self.asked.append(name)
        return STATE[name]

    def __iter__(self) -> Iterator[str]:
        return iter(STATE)

    def __len__(self) -> int:
        return len(STATE)


def test_every_tensor_is_asked_for_once_in_order(tmp_path: Path) -> None:
    lazy = Lazy()
    save_tensors(tmp_path / "policy", lazy, {}, OneRank())
    assert lazy.asked == list(STATE)


def test_ranks_that_hold_the_same_write_equally_much(processes: Callable[[int], Processes], tmp_path: Path) -> None:
    replicas = Layout("two by two", (None, 0))
    for layout in (Layout(), Layout("four", (None,)), replicas):
        specs = [Spec((16, 25), torch.float32, layout, Layout())] * 16
        folder = tmp_path / layout.mesh
        processes(WORLD).run(runs.round_trip, folder / "policy", specs, WORLD, 1)
        sizes = [path.stat().st_size for path in sorted(folder.rglob("*.safetensors"))]
        assert len(sizes) == WORLD
        assert max(sizes) < 1.1 * min(sizes)


@given(st.data())
def test_a_flipped_bit_in_any_file_is_found_and_nothing_is_loaded(tmp_path_factory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("tampered") / "policy"
    save_tensors(folder, STATE, {"attempts": 7}, OneRank())
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    found = blank(STATE)
    with pytest.raises(ValueError, match=path.name):
        load_tensors(folder, found, OneRank())
    assert equal(found, blank(STATE))


@given(st.data())
def test_a_file_cut_short_anywhere_is_named(tmp_path_factory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("cut") / "policy"
    save_tensors(folder, STATE, {}, OneRank())
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=f"{path.name}.*(bytes|damaged|manifest).*another checkpoint"):
        load_tensors(folder, blank(STATE), OneRank())


def test_a_missing_file_is_named(saved: Path) -> None:
    (saved / "tensors_00000.safetensors").unlink()
    with pytest.raises(ValueError, match=r"tensors_00000\.safetensors is missing; .* another checkpoint"):
        load_tensors(saved, blank(STATE), OneRank())


def test_an_unfinished_folder_is_no_checkpoint(saved: Path) -> None:
    (saved / "manifest.json").unlink()
    with pytest.raises(ValueError, match=rf"{saved} has no manifest\.json.* never finished"):
        load_tensors(saved, blank(STATE), OneRank())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"master.up": torch.zeros(3, 5)}, r"master\.up is float32 \(5, 3\) in it and float32 \(3, 5\) here"),
        ({"exact": torch.tensor(0.0)}, r"exact is float64 \(\) in it and float32 \(\) here"),
        ({"gate": torch.zeros(1)}, "gate is not in it"),
        ({"half": None}, "half is only in it"),
        ({"half": None, "a": torch.zeros(1), "b": torch.zeros(1), "c": torch.zeros(1)}, "; c is not in it and 1 more"),
    ],
)
def test_a_checkpoint_of_another_model_says_what_differs(saved: Path, changes: dict[str, Any], words: str) -> None:
    wanted = {name: tensor for name, tensor in {**blank(STATE), **changes}.items() if tensor is not None}
    with pytest.raises(ValueError, match=rf"{saved} holds other weights than this model: .*{words}.*it was saved with"):
        load_tensors(saved, wanted, OneRank())


def test_a_newer_format_asks_for_an_upgrade(saved: Path) -> None:
    write_manifest(saved, {**read_manifest(saved), "version": 2})
    with pytest.raises(ValueError, match=r"has format 2, .* up to 1: upgrade"):
        load_tensors(saved, blank(STATE), OneRank())


def test_a_manifest_that_leads_elsewhere_is_not_followed(saved: Path) -> None:
    manifest = read_manifest(saved)
    shutil.copy(saved / "tensors_00000.safetensors", saved.parent / "other")
    manifest["files"] = {"../other": manifest["files"]["tensors_00000.safetensors"]}
    write_manifest(saved, manifest)
    with pytest.raises(ValueError, match="outside"):
        load_tensors(saved, blank(STATE), OneRank())


def test_regions_with_a_gap_are_not_loaded(saved: Path) -> None:
    manifest = read_manifest(saved)
    manifest["tensors"]["master.up"]["regions"][0]["sizes"] = [4, 3]
    write_manifest(saved, manifest)
    with pytest.raises(ValueError, match=r"holds 12 of 15 elements of master\.up"):
        load_tensors(saved, blank(STATE), OneRank())


def test_a_checkpoint_is_not_written_over(saved: Path) -> None:
    with pytest.raises(ValueError, match=f"{saved} already holds a checkpoint"):
        save_tensors(saved, STATE, {}, OneRank())
    assert equal(dict(open_tensors(saved, OneRank())), STATE)


def test_a_dtype_that_safetensors_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wave has dtype torch\.complex64"):
        save_tensors(tmp_path / "policy", {"wave": torch.zeros(2, dtype=torch.complex64)}, {}, OneRank())
    assert not (tmp_path / "policy" / "manifest.json").exists()


@pytest.mark.parametrize("files_with_room", [0, 1])
def test_a_full_disk_is_named_and_nothing_looks_finished(tmp_path: Path, files_with_room: int) -> None:
    def fill(unfinished: Path) -> None:
        with full_disk(files_with_room):
            save_tensors(unfinished / "policy", STATE, {}, OneRank())

    with pytest.raises(ValueError, match=rf"the disk of {tmp_path}/step_1\S*/policy is full$"):
        write_checkpoint(tmp_path, 1, fill, keep=1)
    assert list(tmp_path.iterdir()) == []


class TestFourRanks:
    """What one rank finds, all of them say, and the next thing they do together works."""

    def test_a_damaged_file_stops_all(self, processes: Callable[[int], Processes], tmp_path: Path) -> None:
        ranks = processes(WORLD)
        assert ranks.run(runs.save, tmp_path / "policy") == [""] * WORLD
        path = sorted((tmp_path / "policy").glob("*.safetensors"))[2]
        content = path.read_bytes()
        for damage, words in ((content[:-1] + b"\xff", "damaged"), (content[:-1], "bytes"), (None, "missing")):
            path.unlink() if damage is None else path.write_bytes(damage)
            errors = ranks.run(runs.load, tmp_path / "policy")
            assert all(str(path) in error and words in error for error in errors)
        path.write_bytes(content)
        assert ranks.run(runs.load, tmp_path / "policy") == [""] * WORLD

    def test_a_folder_without_a_manifest_stops_all(self, processes, tmp_path: Path) -> None:
        errors = processes(WORLD).run(runs.load, tmp_path)
        assert all("no manifest.json" in error for error in errors)

    @pytest.mark.parametrize("poor", [0, 2])
    def test_a_full_disk_stops_all(self, processes, tmp_path: Path, poor: int) -> None:
        errors = processes(WORLD).run(runs.save_on_a_full_disk, tmp_path / "policy", poor)
        assert all(f"the disk of {tmp_path / 'policy'} is full" in error for error in errors)
        assert all(error.startswith(f"rank {poor}: ") == (rank != poor) for rank, error in enumerate(errors))
        assert not (tmp_path / "policy" / "manifest.json").exists()

    def test_ranks_with_other_tensors_are_named(self, processes, tmp_path: Path) -> None:
        errors = processes(WORLD).run(runs.save_unequal, tmp_path / "policy")
        assert all("rank 2 holds other tensors than rank 0" in error for error in errors)
        assert not (tmp_path / "policy" / "manifest.json").exists()

    def test_summands_are_not_saved_for_the_sum(self, processes, tmp_path: Path) -> None:
        errors = processes(WORLD).run(runs.save_summands, tmp_path / "policy")
        assert all("the ranks hold summands of gradient" in error for error in errors)

    def test_a_checkpoint_is_there_when_all_have_written(self, processes, tmp_path: Path) -> None:
        ranks = processes(WORLD)
        assert ranks.run(runs.checkpoint, tmp_path, 1, 1, None) == [""] * WORLD
        errors = ranks.run(runs.checkpoint, tmp_path, 2, 1, 3)
        assert errors == ["rank 3: out of ink"] * 3 + ["out of ink"]
        assert [path.name for path in tmp_path.iterdir()] == ["step_1"]
        assert ranks.run(runs.checkpoint, tmp_path, 3, 1, None) == [""] * WORLD
        assert [path.name for path in tmp_path.iterdir()] == ["step_3"]
        assert {path.read_text() for path in tmp_path.glob("step_3/note_*")} == {"3"}
        assert set(read_manifest(tmp_path / "step_3")["files"]) == {
            path.relative_to(tmp_path / "step_3").as_posix()
            for path in (tmp_path / "step_3").rglob("*")
            if path.is_file() and path != tmp_path / "step_3" / "manifest.json"
        }

    def test_all_agree_on_the_newest_whole_checkpoint(self, processes, tmp_path: Path) -> None:
        ranks = processes(WORLD)
        for step in (1, 2):
            ranks.run(runs.checkpoint, tmp_path, step, 2, None)
        path = tmp_path / "step_2" / "policy" / "tensors_00001.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
        assert ranks.run(runs.newest, tmp_path, False) == [(tmp_path / "step_2", 0)] * WORLD
        assert ranks.run(runs.newest, tmp_path, True) == [(tmp_path / "step_1", 1)] * WORLD


def test_a_rank_killed_while_writing_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, lambda folder: save_tensors(folder / "policy", STATE, {}, OneRank()), keep=1)
    ranks = Processes(2, tmp_path)
    with pytest.raises((EOFError, ConnectionResetError)):
        ranks.run(runs.killed_while_writing, tmp_path)
    assert (tmp_path / "said_0").read_text() == "RuntimeError", "the other rank is told by the broken connection"
    assert list(checkpoints(tmp_path)) == [1]
    assert newest_whole(tmp_path, checksums=True) == (tmp_path / "step_1", [])
    assert not (tmp_path / "step_2.unfinished").exists()
    assert equal(dict(open_tensors(tmp_path / "step_1" / "policy", OneRank())), STATE)
