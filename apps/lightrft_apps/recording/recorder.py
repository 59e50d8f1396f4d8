"""Writes down what a run does: a metrics line a step, its trajectories, its checkpoints, and what a person sees."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightrft_apps.recording.directory import HUGGING_FACE, RunDirectory
from lightrft_apps.recording.media import MediaKeeper
from lightrft_apps.recording.phases import Phases
from lightrft_apps.recording.profiling import Profiler
from lightrft_apps.recording.progress import Progress
from lightrft_apps.recording.trackers import Trackers
from lightrft_apps.recording.trajectories import write_trajectories
from lightrft_core import Group, OneRank, Ranks
from lightrft_strategy.checkpoints import write_checkpoint
from lightrft_strategy.placement import Placement
from lightrft_strategy.roofline import Roofline
from lightrft_strategy.together import on_first, together
from lightrft_strategy.token_texts import Texts


class RunRecorder:
    """The core's Recorder over a run directory.

    keep, max_bytes: checkpoints to keep, at most. placement: moves what a phase needs onto the devices.
    roofline: of the policy's decoding; None: it draws no answers. profiler: watches some of the steps.
    measured: more numbers for the metrics line, since the last call.
    export: writes the policy into a folder for others to load, with each checkpoint; None: nothing does.
    ranks: the first of them writes. doing: told each phase.
    texts: of tokens, kept with the answers. media: keeps what prompts show and play.
    trackers: those that follow the metrics; None: there are none.
    """

    def __init__(
        self,
        run: RunDirectory,
        progress: Progress,
        *,
        placement: Placement,
        roofline: Roofline | None = None,
        keep: int,
        max_bytes: float | None = None,
        save_trajectories: bool = False,
        profiler: Profiler | None = None,
        measured: Callable[[], Mapping[str, float]] = dict,
        export: Callable[[Path], None] | None = None,
        ranks: Ranks | None = None,
        doing: Callable[[str, int], None] = lambda phase, step: None,
        texts: Texts | None = None,
        media: MediaKeeper | None = None,
        trackers: Trackers | None = None,
    ) -> None:
        self.ranks, self.doing = ranks or OneRank(), doing
        self.run, self.progress, self.placement, self.roofline = run, progress, placement, roofline
        self.keep, self.max_bytes, self.keeps_answers = keep, max_bytes, save_trajectories
        self.profiler, self.measured, self.export = profiler, measured, export
        self.texts, self.media, self.trackers = texts, media, trackers
        self.phases = Phases()

    @contextmanager
    def phase(self, name: str, step: int) -> Iterator[None]:
        """Place, time and show one phase of a step."""
        self.progress.phase(name, step)
        self.doing(name, step)
        watched = self.profiler.phase(name, step) if self.profiler is not None else nullcontext()
        with watched, self.phases.measure(name), self.placement.phase(name):
            yield

    def evaluated(self, step: int, groups: Sequence[Group]) -> None:
        """Keep the answers of an evaluation."""
        self._trajectories("eval", step, groups)

    def record(self, step: int, metrics: Mapping[str, float], groups: Sequence[Group]) -> None:
        """The step's trajectories, then its metrics line, flushed to disk: the line says the step is done."""
        if self.profiler is not None:
            self.profiler.finish(step)
        times = self.phases.take() | self.placement.take() | dict(self.measured())
        if self.ranks.rank:
            return
        if groups:
            self._trajectories("step", step, groups)
        for error in [group.error for group in groups if group.error]:
            self.warn(step, error)
        lengths = [len(rollout.token_ids) for group in groups for rollout in group.rollouts]
        if lengths:
            seconds = times["time/sample"]
            times["time/tokens_per_second"] = sum(lengths) / seconds
            times["rollout/bubble_ratio"] = 1 - sum(lengths) / len(lengths) / max(lengths)
            if self.roofline is not None:
                times["time/bandwidth_utilisation"] = self.roofline.utilisation(groups, seconds)
        line = {"step": step} | dict(sorted(metrics.items())) | times
        with self.run.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.progress.step(step, line)
        if self.trackers is not None:
            self.trackers.look()

    def warn(self, step: int, message: str) -> None:
        """Tell the person at the terminal, and keep it for those who look later."""
        self.progress.warn(f"step {step}: {message}")
        if not self.ranks.rank:
            with self.run.warnings.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "warning": message}) + "\n")

    def checkpoint(self, step: int, save: Callable[[Path], None]) -> None:
        """An atomic checkpoint; only the newest ones and the best are kept."""
        limits: dict[str, Any] = {"keep": self.keep, "max_bytes": self.max_bytes, "best": self.run.best(step)}
        export = self.export

        def fill(folder: Path) -> None:
            together(self.ranks, lambda: save(folder))
            if export is not None:
                on_first(self.ranks, lambda: export(folder / HUGGING_FACE))

        with self.phase("checkpoint", step):
            removed = write_checkpoint(self.run.checkpoints, step, fill, **limits, ranks=self.ranks)
        for path in removed:
            self.warn(step, f"{path} has been removed: --max_ckpt_mem has no room for it beside the checkpoints")

    def _trajectories(self, kind: str, step: int, groups: Sequence[Group]) -> None:
        if self.keeps_answers and not self.ranks.rank:
            write_trajectories(self.run.trajectories / f"{kind}_{step:06d}.parquet", step, groups, self.texts)
            if self.media is not None:
                self.media.keep(groups)
