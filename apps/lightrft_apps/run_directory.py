"""A run on disk: where everything lies, whose configuration it belongs to, and how to go on after a stop."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lightrft_apps.config.files import RECORD
from lightrft_apps.held_out import quality
from lightrft_strategy.checkpoints import checkpoints, newest_whole

HUGGING_FACE = "huggingface"
"""The folder in a checkpoint that holds the policy for others to load."""

_TORN = ".config.yaml.*"
"""What a kill leaves of a config.yaml that was about to be written."""


class RunDirectoryError(Exception):
    """A directory this run cannot use; the message says why and what to do."""


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run. `open_run` takes its lock, until close() or the end of the process."""

    path: Path
    lock: IO[str] | None = None

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def trajectories(self) -> Path:
        return self.path / "trajectories"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def journal(self, rank: int) -> Path:
        """What a process has had judged."""
        return self.path / (f"verdicts_{rank}.jsonl" if rank else "verdicts.jsonl")

    @property
    def rejected(self) -> Path:
        return self.path / "rejected.jsonl"

    @property
    def final(self) -> Path:
        return self.path / "final"

    @property
    def final_ema(self) -> Path:
        return self.path / "final_ema"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def profile(self) -> Path:
        return self.path / "profile"

    def untouched(self) -> bool:
        """Whether nothing has been judged here yet, and nothing lies here that a run did not write."""
        present = {entry.name for entry in self.path.iterdir()}
        ours = RECORD in self.config.read_text(encoding="utf-8")
        return ours and present <= {".lock", self.config.name, self.rejected.name}

    def close(self) -> None:
        """Let another process use the directory."""
        if self.lock is not None:
            self.lock.close()

    def best(self, *others: int) -> int | None:
        """Of the checkpoints, and other steps, the one that does best on what is held out, the latest of equals.

        By accuracy; in a run that answers and compares nothing by the likelihood of given answers, or by the error.
        """
        if not self.metrics.exists():
            return None
        candidates = {*checkpoints(self.checkpoints), *others}
        lines = map(json.loads, filter(_whole, self.metrics.read_bytes().splitlines(True)))
        known = [(good, line["step"]) for line in lines if (good := quality(line)) is not None]
        return max((pair for pair in known if pair[1] in candidates), default=(0.0, None))[1]

    def rewind(self) -> tuple[Path | None, list[str]]:
        """Forget what happened after the newest whole checkpoint and return it; without one, forget everything.

        Also returns what is wrong with checkpoints that are newer.
        """
        newest, faults = newest_whole(self.checkpoints)
        step = int(newest.name.removeprefix("step_")) if newest is not None else -1
        if self.metrics.exists():
            kept = [line for line in self.metrics.read_bytes().splitlines(True) if _step(line) <= step]
            replacement = self.metrics.with_suffix(".unfinished")
            replacement.write_bytes(b"".join(kept))
            replacement.rename(self.metrics)
        for path in self.trajectories.glob("*.parquet"):
            if int(path.stem.split("_")[1]) > step:
                path.unlink()
        return newest, faults


def open_run(path: Path, matches: Callable[[Path], Mapping[str, tuple[Any, Any]]]) -> tuple[RunDirectory, bool]:
    """Take a directory for a run. Returns it and whether its configuration is already there.

    matches: config.yaml -> the fields in which that run differs from this one, name -> (there, here). A run that came
    to nothing (a flag was wrong, its reward did not load) makes way for one with other settings.
    Raises RunDirectoryError if another run or anything else lies there, or if a process is using it.
    """
    path.mkdir(parents=True, exist_ok=True)
    strangers = sorted(entry.name for entry in path.iterdir() if not entry.match(".lock") and not entry.match(_TORN))
    if strangers and not (path / "config.yaml").exists():
        raise RunDirectoryError(
            f"{path} is not empty and holds no run (found {', '.join(strangers[:3])}): choose another --output_dir"
        )
    run = RunDirectory(path, _lock(path))
    try:
        for leftover in path.glob(_TORN):
            leftover.unlink()
        different = matches(run.config) if run.config.exists() else {}
        if different and not run.untouched():
            raise RunDirectoryError(_listing(path, different))
        resuming = run.config.exists() and not different
    except BaseException:
        run.close()
        raise
    return run, resuming


def _listing(path: Path, different: Mapping[str, tuple[Any, Any]]) -> str:
    listing = "\n".join(f"  --{name}: {old!r} there, {new!r} now" for name, (old, new) in different.items())
    return (
        f"{path} holds a run with another configuration:\n{listing}\n"
        "Choose another --output_dir, or repeat the settings of that run to resume it."
    )


def _lock(path: Path) -> IO[str]:
    handle = (path / ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunDirectoryError(
            f"{path} is in use by another process: wait for it, or choose another --output_dir"
        ) from None
    return handle


def _step(line: bytes) -> float:
    """The step of a metrics line; infinite for a line a kill has torn."""
    return int(json.loads(line)["step"]) if _whole(line) else float("inf")


def _whole(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and "step" in json.loads(line)
    except ValueError:
        return False
