"""The runs of a comparison, one after another, each in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightrft_apps.config import ConfigError, RLConfig, differences
from lightrft_apps.config.commands.compare import PlannedRun

LAST_LINES = 8
"""How much of what a failed run said is repeated."""
PATIENCE = 20.0
"""Seconds an interrupted run has to end by itself."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended. exit_code: 0 if it is complete; last_lines: the last it said, if it is not."""

    run: PlannedRun
    exit_code: int
    last_lines: tuple[str, ...] = ()


def run_all(runs: Sequence[PlannedRun]) -> list[Outcome]:
    """Bring every run to its end; one that fails does not keep the others from theirs."""
    outcomes: list[Outcome] = []
    seconds: list[float] = []
    for number, run in enumerate(runs, start=1):
        heading = f"run {number} of {len(runs)}: {run.algorithm}, seed {run.seed}"
        if is_finished(run):
            _say(f"{heading}: finished before, in {run.path}")
            outcomes.append(Outcome(run, 0))
            continue
        waiting = sum(not is_finished(later) for later in runs[number - 1 :])
        left = f"; about {waiting * sum(seconds) / len(seconds) / 60:.0f} min left" if seconds else ""
        _say(f"{heading}, into {run.path}{left}")
        start = time.perf_counter()
        outcome = _run(run)
        seconds.append(time.perf_counter() - start)
        if outcome.exit_code:
            _say(f"{heading}: FAILED with exit code {outcome.exit_code}; its last lines:")
            _say("\n".join(f"  {line}" for line in outcome.last_lines))
        else:
            _say(f"{heading}: finished in {seconds[-1]:.0f} s")
        outcomes.append(outcome)
    return outcomes


def is_finished(run: PlannedRun) -> bool:
    """Whether the run's directory holds this very run, complete."""
    if not (run.path / "summary.json").exists():
        return False
    try:
        there = RLConfig.from_file(run.path / "config.yaml")
    except ConfigError:
        return False
    return not differences(there.to_flat(), run.config.to_flat())


def _run(run: PlannedRun) -> Outcome:
    """One run in a fresh interpreter; what it says goes to the terminal and into its log.

    A finished run has no use for its checkpoints, and those of many runs fill a disk. Whatever stops this command, an
    interrupt or a full disk under the log, stops the run with it: none is left behind.
    """
    run.path.parent.mkdir(parents=True, exist_ok=True)
    config = _beside(run.path, ".yaml")
    run.config.save(config, {"made by": "lightrft compare"})
    # -P: as for the installed command, modules are not looked for in the folder it is called from.
    command = [sys.executable, "-P", "-m", "lightrft_apps", "rl", "--config", str(config)]
    last: deque[str] = deque(maxlen=LAST_LINES)
    with (
        _beside(run.path, ".log").open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                last.append(line.rstrip("\n"))
                _say(f"  {last[-1]}")
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        return Outcome(run, process.returncode, tuple(last))
    shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
    return Outcome(run, 0)


def _end(process: subprocess.Popen[str]) -> None:
    """Let an interrupted run end: a terminal has interrupted it too."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
