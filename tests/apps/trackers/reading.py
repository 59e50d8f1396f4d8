"""What each tracker's own files hold, read without the libraries that wrote them: {step: {name: number}} and config."""

from __future__ import annotations

import importlib
import json
import sqlite3
import struct
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

Series: TypeAlias = dict[int, dict[str, float]]


def add(series: Series, step: int, name: str, value: float) -> None:
    """A number, which no tracker may hold twice."""
    assert name not in series.setdefault(step, {}), f"{name} of step {step} is there twice"
    series[step][name] = value


def only(paths: Iterator[Path]) -> Path:
    (path,) = paths
    return path


@contextmanager
def bare(package: str) -> Iterator[None]:
    """Let modules of a package be imported without the package itself, which takes seconds."""
    module, before = ModuleType(package), {name: sys.modules[name] for name in sys.modules if name == package}
    spec = find_spec(package)
    assert spec is not None
    module.__path__ = list(spec.submodule_search_locations or [])
    sys.modules[package] = module
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    sys.modules.update(before)


def level_db_log(path: Path) -> Iterator[bytes]:
    """The records of a file in the format of LevelDB's log, behind a head of seven bytes: W&B's and SwanLab's."""
    content, place, pieces = path.read_bytes(), 7, b""
    while place < len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield pieces
            pieces = b""


def of_wandb(run: Path) -> tuple[Series, dict[str, Any]]:
    with bare("wandb"):
        Record = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    series: Series = {}
    config: dict[str, Any] = {}
    for content in level_db_log(only(run.glob("wandb/offline-run-*/*.wandb"))):
        record = Record.FromString(content)
        for change in [*record.run.config.update, *record.config.update]:
            config[change.key] = json.loads(change.value_json)
        items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for name, value in items.items():
            if not name.startswith("_"):
                add(series, items["_step"], name, value)
    return series, config


def of_swanlab(run: Path) -> tuple[Series, dict[str, Any]]:
    import yaml

    folder = only(run.glob("swanlab/run-*"))
    with bare("swanlab"):
        Record = importlib.import_module("swanlab.proto.swanlab.record.v1.record_pb2").Record
    series: Series = {}
    for content in level_db_log(only(folder.glob("*.swanlab"))):
        record = Record.FromString(content)
        if record.HasField("scalar"):
            add(series, record.scalar.step, record.scalar.key, record.scalar.value.number)
    settings = yaml.safe_load((folder / "files" / "config.yaml").read_text())
    return series, {name: entry["value"] for name, entry in settings.items()}


def of_tensorboard(run: Path) -> tuple[Series, dict[str, Any]]:
    from tensorboardX.proto.event_pb2 import Event

    content, place = only(run.glob("tensorboard/events.*")).read_bytes(), 0
    series: Series = {}
    config: dict[str, Any] = {}
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        place += 16 + length
        for value in event.summary.value:
            if value.HasField("simple_value"):
                add(series, event.step, value.tag, value.simple_value)
            else:
                lines = value.tensor.string_val[0].decode().splitlines()
                config |= dict(line.strip().split(": ", 1) for line in lines if ": " in line)
    return series, config


def of_trackio(run: Path) -> tuple[Series, dict[str, Any]]:
    series: Series = {}
    with closing(sqlite3.connect(only(run.glob("trackio/*.db")))) as database:
        for step, numbers in database.execute("select step, metrics from metrics"):
            for name, value in json.loads(numbers).items():
                add(series, step, name, value)
        ((config,),) = database.execute("select config from configs").fetchall()
    return series, json.loads(config)


READERS = {"wandb": of_wandb, "tensorboard": of_tensorboard, "swanlab": of_swanlab, "trackio": of_trackio}
