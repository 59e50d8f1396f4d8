"""Where the time of a few steps goes: a trace for each rank and step, and the top operators of each phase."""

from __future__ import annotations

import gzip
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch.profiler import ProfilerActivity, profile, record_function, supported_activities

from lightrft_apps.config import ConfigError, FolderArgs, beyond, profiled_steps
from lightrft_apps.recording.operator_table import OUTSIDE, Row, table
from lightrft_core import Ranks
from lightrft_strategy.devices import device

SPAN = "phase of the step: "
"""Begins the name of a phase's span in a trace."""

MIB = 2**20


@dataclass
class Profiler:
    """Profiles whole steps with torch.profiler, each by itself, so that what it holds is no more than one step's.

    steps: which. folder: where traces and their table go, named by steps; nothing before the first has ended.
    say: told where each trace lies and how large it is. Shapes, stacks and memory are not recorded.
    """

    folder: Path
    steps: range
    ranks: Ranks
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.running: Any = None
        self.done: list[int] = []
        self.rows: list[Row] = []
        self.written: Path | None = None

    @contextmanager
    def phase(self, name: str, step: int) -> Iterator[None]:
        """Mark a phase in the trace of its step, which begins with its first phase."""
        if step not in self.steps or step in self.done:
            yield
            return
        if self.running is None:
            self.running = profile(activities=_activities())
            self.running.start()
        with record_function(SPAN + name):
            yield

    def finish(self, step: int) -> None:
        """Write the step's trace, and the table of all steps so far and all ranks. Every rank calls it."""
        if self.running is None:
            return
        profiler, self.running = self.running, None
        profiler.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        trace = self.folder / f"step_{step:06d}_rank_{self.ranks.rank}.json.gz"
        _export(profiler, trace)
        self.done.append(step)
        self.rows += operators(profiler.events())
        rows = self.ranks.gather(self.rows)
        if self.ranks.rank == 0:
            self._write(table(rows, self.done, self.ranks.world_size))
            self.say(f"step {step} profiled: {trace} has {trace.stat().st_size / MIB:.1f} MiB")

    def _write(self, text: str) -> None:
        """In place of the table of fewer steps that this process wrote before, not of those of an earlier one."""
        first, last, before = self.done[0], self.done[-1], self.written
        named = f"operators_{first:06d}" if first == last else f"operators_{first:06d}-{last:06d}"
        self.written = self.folder / f"{named}.md"
        with _appearing(self.written) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        if before is not None:
            before.unlink(missing_ok=True)


def build_profiler(
    args: FolderArgs, folder: Path, ranks: Ranks, say: Callable[[str], None], *, done: int, num_steps: int
) -> Profiler | None:
    """What --profile_steps asks for, in a run of so many steps; None: nothing.

    done: steps that are finished already, and so are not profiled. Raises ConfigError if the run has no such steps.
    """
    steps = profiled_steps(args.profile_steps)
    problems = [*beyond(args.profile_steps, steps, num_steps)]
    if problems:
        raise ConfigError(problems)
    if steps and steps[0] <= done:
        say(f"--profile_steps {args.profile_steps}: steps up to {done} are done already and not profiled")
    return Profiler(folder, steps, ranks, say) if steps else None


class _Span(NamedTuple):
    start: float
    end: float
    phase: str


def operators(events: Iterable[Any]) -> list[Row]:
    """Calls and self time of each operator in each phase, from a profiler's events; OUTSIDE: of no operator."""
    on_host = [event for event in events if event.device_type.name == "CPU"]
    spans = sorted(
        _Span(event.time_range.start, event.time_range.end, event.name.removeprefix(SPAN))
        for event in on_host
        if event.name.startswith(SPAN)
    )
    starts = [span.start for span in spans]
    sums: dict[tuple[str, str], list[float]] = {}
    for event in on_host:
        number = bisect_right(starts, event.time_range.start) - 1
        if number < 0 or event.time_range.start > spans[number].end:
            continue
        name = OUTSIDE if event.name.startswith(SPAN) else event.name
        row = sums.setdefault((spans[number].phase, name), [0, 0.0, 0.0])
        row[0] += 1
        row[1] += event.self_cpu_time_total
        row[2] += event.self_device_time_total
    return [Row(phase, name, int(row[0]), row[1] / 1e6, row[2] / 1e6) for (phase, name), row in sums.items()]


def _activities() -> Sequence[ProfilerActivity]:
    if device().type == "cpu":
        return [ProfilerActivity.CPU]
    return list(supported_activities())  # type: ignore[no-untyped-call]


def _export(profiler: Any, trace: Path) -> None:
    plain = trace.with_suffix(".unfinished")
    try:
        profiler.export_chrome_trace(str(plain))
        with (
            _appearing(trace) as beside,
            plain.open("rb") as source,
            gzip.open(beside, "wb", compresslevel=5) as packed,
        ):
            shutil.copyfileobj(source, packed)
    finally:
        plain.unlink(missing_ok=True)


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """Where to write a file that gets its name once it is whole."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
