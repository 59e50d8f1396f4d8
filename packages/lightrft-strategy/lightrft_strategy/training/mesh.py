"""Ranks in rows: neighbours that compute every micro-batch together, a slice of each layer each."""

from __future__ import annotations

from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from lightrft_core import Ranks
from lightrft_strategy.devices import device


def require_rows(ranks: Ranks, tp_size: int) -> None:
    """Raise ValueError unless the ranks that compute every micro-batch together can be cut into rows of tp_size."""
    together = ranks.world_size // ranks.learners
    if together % tp_size:
        raise ValueError(
            f"{together} ranks compute every micro-batch together, which cannot be cut into groups of tp_size "
            f"{tp_size}: set per_learner of the ranks to a multiple of it"
        )


def rows(tp_size: int, timeout: timedelta | None = None) -> DeviceMesh:
    """All ranks in rows of tp_size neighbours (tp), whose columns (dp) have the same slices of layers.

    timeout: how long a rank waits in a row or a column before it gives up; None: as long as torch lets it by default.
    Every rank calls it.
    """
    table = torch.arange(dist.get_world_size()).view(-1, tp_size)
    lines = {"dp": table.T.tolist(), "tp": table.tolist()}
    groups = [_mine(line, timeout) for line in lines.values()]
    return DeviceMesh.from_group(groups, device().type, table, mesh_dim_names=tuple(lines))


def _mine(lines: list[list[int]], timeout: timedelta | None) -> dist.ProcessGroup:
    """The group of those ranks that this one is among."""
    groups: list[dist.ProcessGroup] = [dist.new_group(line, timeout=timeout) for line in lines]
    return next(group for line, group in zip(lines, groups, strict=True) if dist.get_rank() in line)
