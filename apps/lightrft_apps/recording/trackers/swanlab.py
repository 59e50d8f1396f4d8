"""SwanLab: a run in output_dir/swanlab, which `swanlab sync` sends, or one that is sent as it goes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import swanlab

from lightrft_apps.recording.trackers.tracker import Tracked


class SwanLab:
    """What it collects by itself (machine, console, packages) is left out. It keeps the first of each step."""

    def __init__(self, run: Tracked) -> None:
        folder = run.room("swanlab")
        for before in folder.glob(f"run-*-{run.id}"):
            shutil.rmtree(before)
        nothing = swanlab.Settings.Probe(
            hardware=False, runtime=False, requirements=False, conda=False, git=False, swanlab=False, monitor=False
        )
        quiet = swanlab.Settings.Terminal(proxy_type="none")
        self.run = swanlab.init(
            mode="online" if run.online else "offline",
            log_dir=str(folder),
            id=run.id,
            name=run.name,
            project=run.project,
            workspace=run.org,
            group=run.group,
            job_type=run.command,
            config=dict(run.config),
            resume="allow",
            settings=swanlab.Settings(interactive=False, probe=nothing, terminal=quiet),
        )

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """The numbers of one step."""
        self.run.log(metrics, step=step)

    def finish(self, ended: bool) -> None:
        """End the run, as aborted if it was stopped."""
        self.run.finish(state="success" if ended else "aborted")


start = SwanLab
