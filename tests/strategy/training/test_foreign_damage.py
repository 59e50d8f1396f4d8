"""Files of other trainers' checkpoints that are damaged, contradict themselves or are gone: each is named."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint import save
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata

from lightrft_strategy.foreign import open_foreign
from lightrft_strategy.foreign.zero import read_plain

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

Box = tuple[tuple[int, int], tuple[int, int]]


@pytest.fixture
def dcp(tmp_path: Path) -> Path:
    folder = tmp_path / "step"
    save({"a": torch.ones(4, 2), "b": torch.zeros(())}, checkpoint_id=folder, no_dist=True)
    return folder


def parts(folder: Path, *boxes: Box) -> None:
    """Let the list of contents say that `a` lies in these (offsets, sizes)."""
    metadata = folder / ".metadata"
    content = pickle.loads(metadata.read_bytes())
    chunks = [ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for offsets, sizes in boxes]
    content.state_dict_metadata["a"].chunks = chunks
    place = next(place for place in content.storage_data if place.fqn == "a")
    info = content.storage_data.pop(place)
    for chunk in chunks:
        content.storage_data[type(place)("a", chunk.offsets)] = info
    metadata.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([((0, 0), (2, 2)), ((1, 0), (2, 2))], r"has parts of a that overlap at \[1, 0\]"),
        ([((0, 0), (4, 1)), ((2, 0), (2, 2))], r"has parts of a that overlap at \[2, 0\]"),
        ([((0, 0), (2, 2)), ((3, 0), (2, 2))], r"has a part of a from \[3, 0\] to \[5, 2\], beyond its shape \[4, 2\]"),
        ([((0, 0), (2, 2)), ((2, 0), (1, 2))], "has 6 of 8 elements of a"),
    ],
)
def test_parts_that_overlap_or_stand_out_or_are_too_few_are_refused(dcp: Path, boxes: list[Box], message: str) -> None:
    parts(dcp, *boxes)
    with pytest.raises(ValueError, match=message) as refused:
        open_foreign(dcp)
    assert str(dcp / ".metadata") in str(refused.value)


@pytest.mark.parametrize(
    "boxes",
    [
        [((0, 0), (2, 1)), ((0, 1), (2, 1)), ((2, 1), (2, 1)), ((2, 0), (2, 1))],
        [((0, 0), (3, 2)), ((3, 0), (1, 2)), ((4, 0), (0, 2))],
    ],
)
def test_parts_side_by_side_are_taken_and_so_are_empty_ones(dcp: Path, boxes: list[Box]) -> None:
    parts(dcp, *boxes)
    assert open_foreign(dcp).shapes["a"] == (4, 2)


def read_all(folder: Path) -> None:
    foreign = open_foreign(folder)
    for name in foreign.shapes:
        foreign.read(name)


def damaged(path: Path, read: Callable[[], Any], times: int) -> int:
    """How often reading raises, of so many times that some bytes of a file are others; its folder is then named."""
    rng, whole, named = random.Random(0), path.read_bytes(), 0
    for _ in range(times):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            read()
        except ValueError as error:
            named += 1
            assert str(path.parent) in str(error)
    path.write_bytes(whole)
    return named


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_whatever_a_damaged_file_of_dcp_holds_it_is_named(dcp: Path, name: str) -> None:
    assert damaged(dcp / name, lambda: read_all(dcp), 150) > 10
    (dcp / name).unlink()
    with pytest.raises(ValueError, match=str(dcp)):
        read_all(dcp)


def test_whatever_a_damaged_file_of_torch_holds_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    torch.save({"optimizer_state_dict": {"zero_stage": 1, "shards": [torch.ones(3)]}}, path)
    assert damaged(path, lambda: read_plain(path), 150) > 10


def test_a_file_of_safetensors_that_is_damaged_or_gone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(300)}, path)
    foreign, whole = open_foreign(tmp_path), path.read_bytes()
    for content in (whole[:-4], b"", b"\xff" * 40):
        path.write_bytes(content)
        for read in (lambda: foreign.read("a"), lambda: open_foreign(tmp_path)):
            with pytest.raises(ValueError, match=f"{path} is damaged"):
                read()
    path.unlink()
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        foreign.read("a")
