"""The trackers of a run as the run sees them: processes that are begun, looked at, and waited for at the end."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lightrft_apps.config import COMMANDS, LearningConfig, chosen_trackers
from lightrft_apps.config.reading.files import write_yaml
from lightrft_apps.recording.trackers.secrets import environment_of, without_secrets
from lightrft_apps.recording.trackers.tracker import Tracked

if TYPE_CHECKING:
    from lightrft_apps.recording.directory import RunDirectory  # imports torch, which a tracker's process does without

PATIENCE = 120.0
"""Seconds that a tracker may take to finish after the run's last step."""

Tell = Callable[[str], None]


class TrackerProcess:
    """One tracker. It follows metrics.jsonl by itself, and finishes once its input is closed or this process is gone.

    Raises OSError if it cannot be begun.
    """

    def __init__(self, name: str, run: Tracked) -> None:
        self.name, self.given_up = name, False
        self.printed = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lightrft_apps.recording.trackers.worker", name],
            stdin=subprocess.PIPE,
            stdout=self.printed,
            stderr=subprocess.STDOUT,
            env=environment_of(run.room(name), os.environ, online=run.online),
            cwd=run.folder,
            start_new_session=True,
        )
        with suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(asdict(run)).encode() + b"\n")
            self.process.stdin.flush()

    def failure(self) -> str | None:
        """What is to be said, once, of one that has stopped too early."""
        if self.given_up or self.process.poll() in (None, 0):
            return None
        self.given_up = True
        self.printed.seek(0)
        lines = self.printed.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{self.name} has stopped: {last}"

    def let_finish(self) -> None:
        """Close its input."""
        with suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def finished(self, until: float) -> bool:
        """Wait until then, by time.monotonic(), for it to end. One that has not is ended."""
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True


class Trackers:
    """Those of a run. One that fails is told of once, and the run goes on."""

    def __init__(self, processes: Sequence[TrackerProcess], tell: Tell) -> None:
        self.processes, self.tell = processes, tell

    def look(self) -> None:
        """Tell of those that have stopped."""
        for process in self.processes:
            if (failure := process.failure()) is not None:
                self._tell(failure)

    def close(self) -> None:
        """Let all of them write what there is, and wait for them."""
        until = time.monotonic() + PATIENCE
        for process in self.processes:
            process.let_finish()
        for process in self.processes:
            if not process.finished(until):
                self._tell(f"{process.name} took longer than {PATIENCE:.0f} s to finish")
                process.given_up = True
        self.look()
        for process in self.processes:
            process.printed.close()

    def _tell(self, what: str) -> None:
        self.tell(f"{what}; the run is not touched by it, and metrics.jsonl has every number")


@contextmanager
def open_trackers(config: LearningConfig, run: RunDirectory, tell: Tell, *, first: bool = True) -> Iterator[Trackers]:
    """The trackers that a configuration asks for, while the run goes; first: whether this is its first process.

    What follows its newest checkpoint must be forgotten before. tell: warns the person at the terminal.
    """
    processes = []
    for name in chosen_trackers(config.tracking) if first else ():
        try:
            processes.append(TrackerProcess(name, _tracked(config, run)))
        except OSError as error:
            tell(f"{name} could not be begun: {error}; the run goes on without it")
    trackers = Trackers(processes, tell)
    try:
        yield trackers
    finally:
        trackers.close()


def _tracked(config: LearningConfig, run: RunDirectory) -> Tracked:
    folder, args = run.path.resolve(), config.tracking
    said = without_secrets({"name": args.tracker_run_name or folder.name, "group": args.tracker_group}, os.environ)
    return Tracked(
        folder=str(folder),
        metrics=str(run.metrics.resolve()),
        summary=str(run.summary.resolve()),
        identity=str(run.trackers.resolve()),
        id=_identity(run),
        **said,
        project=args.tracker_project,
        org=args.tracker_org,
        command=next(command for kind, command in COMMANDS.items() if isinstance(config, kind)),
        config=without_secrets(config.to_flat(), os.environ),
        shared=str(Path(args.tensorboard_dir).expanduser().resolve()) if args.tensorboard_dir else None,
        online=args.tracker_online,
    )


def _identity(run: RunDirectory) -> str:
    """What trackers know the run by, drawn when the first of them begins."""
    if not run.trackers.exists():
        write_yaml(run.trackers, json.dumps({"id": secrets.token_hex(4)}) + "\n")
    identity: str = json.loads(run.trackers.read_text(encoding="utf-8"))["id"]
    return identity
