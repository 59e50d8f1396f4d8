"""A run on disk: where everything lies, whose configuration it belongs to, and how to go on after a stop."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lightrft_apps.config.reading.files import RECORD, write_yaml
from lightrft_apps.recording.held_out import quality
from lightrft_apps.recording.lines import line_of, read_lines

HUGGING_FACE = "huggingface"
"""The folder in a checkpoint that holds the policy for others to load."""

_TORN = ".config.yaml.*"
"""What a kill leaves of a config.yaml that was about to be written."""

_GLANCE = 0.2
"""Seconds for which a lock may be held by one who only looks whether a run is in use."""


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
    def progress(self) -> Path:
        """How many steps the run has."""
        return self.path / "progress.json"

    @property
    def warnings(self) -> Path:
        return self.path / "warnings.jsonl"

    @property
    def trajectories(self) -> Path:
        return self.path / "trajectories"

    @property
    def media(self) -> Path:
        return self.path / "media"

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
    def judge(self) -> Path:
        """How the judge that the run trains is asked."""
        return self.path / "judge.json"

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
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def profile(self) -> Path:
        return self.path / "profile"

    @property
    def heartbeats(self) -> Path:
        return self.path / "heartbeats"

    @property
    def trackers(self) -> Path:
        """What trackers know the run by."""
        return self.path / "trackers.json"

    def untouched(self) -> bool:
        """Whether nothing has been judged here yet, and nothing lies here that a run did not write."""
        present = {entry.name for entry in self.path.iterdir()}
        ours = RECORD in self.config.read_text(encoding="utf-8")
        beside = {self.rejected, self.heartbeats, self.trackers, self.progress, self.judge, self.warnings}
        return ours and present <= {".lock", self.config.name, *(file.name for file in beside)}

    def announce(self, num_steps: int) -> None:
        """Say how many steps the run has."""
        write_yaml(self.progress, json.dumps({"num_steps": num_steps}) + "\n")

    def close(self) -> None:
        """Let another process use the directory."""
        if self.lock is not None:
            self.lock.close()

    def best(self, *others: int) -> int | None:
        """Of the checkpoints, and other steps, the one that does best on what is held out, the latest of equals.

        By accuracy; in a run that answers and compares nothing by the likelihood of given answers, or by the error.
        """
        from lightrft_strategy.checkpoints import checkpoints  # imports torch, which readers of a run do not wait for

        if not self.metrics.exists():
            return None
        candidates = {*checkpoints(self.checkpoints), *others}
        lines = read_lines(self.metrics).lines
        known = [(good, line["step"]) for line in lines if (good := quality(line)) is not None]
        return max((pair for pair in known if pair[1] in candidates), default=(0.0, None))[1]

    def rewind(self, checkpoint: Path | None) -> list[Path]:
        """Forget what happened after a checkpoint; without one, forget everything.

        Newer checkpoints, which are damaged, are put aside. Returns where, newest first.
        """
        from lightrft_strategy.checkpoints import put_aside

        step = int(checkpoint.name.removeprefix("step_")) if checkpoint is not None else -1
        aside = put_aside(self.checkpoints, after=step)
        for file in filter(Path.exists, (self.metrics, self.warnings)):
            read = [(line, line_of(line)) for line in file.read_bytes().splitlines(True)]
            kept = [line for line, said in read if said is not None and said["step"] <= step]
            replacement = file.with_suffix(".unfinished")
            replacement.write_bytes(b"".join(kept))
            replacement.rename(file)
        for path in self.trajectories.glob("*.parquet"):
            if int(path.stem.split("_")[1]) > step:
                path.unlink()
        return aside


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
        if different:
            run.judge.unlink(missing_ok=True)
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


def in_use(run: RunDirectory) -> bool:
    """Whether a process of this machine, or of another that shares the disk's locks, works in the run's folder."""
    try:
        with (run.path / ".lock").open("r") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _lock(path: Path) -> IO[str]:
    handle, until = (path / ".lock").open("w"), time.monotonic() + _GLANCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(_GLANCE / 20)
                continue
            handle.close()
            raise RunDirectoryError(
                f"{path} is in use by another process: wait for it, or choose another --output_dir"
            ) from None
        return handle
