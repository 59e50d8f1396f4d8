"""trackio: a database in output_dir/trackio, or the Space or server that trackio's environment variables name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

import trackio

from lightrft_apps.recording.trackers.tracker import Tracked

ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


class Trackio:
    """Each line of metrics.jsonl is a row. The library's own numbers of the machine are left out."""

    def __init__(self, run: Tracked) -> None:
        sent = run.online and any(map(os.environ.get, ELSEWHERE))
        if not sent:
            shutil.rmtree(run.room("trackio"), ignore_errors=True)
        self.run = trackio.init(
            project=run.project,
            name=run.name,
            group=run.group,
            config=dict(run.config),
            resume="allow" if sent else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self.first = self.run._next_step

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """The numbers of one step, unless the server has it."""
        if step >= self.first:
            self.run.log(dict(metrics), step=step)

    def finish(self, ended: bool) -> None:
        """Write what is left."""
        self.run.finish()


start = Trackio
