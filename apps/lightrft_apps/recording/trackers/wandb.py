"""Weights & Biases: a run in output_dir/wandb, which `wandb sync` sends, or one that is sent as it goes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import wandb

from lightrft_apps.recording.trackers.tracker import Tracked


class Wandb:
    """What it collects by itself (code, machine, console, packages) is left out: config.yaml has what is of use."""

    def __init__(self, run: Tracked) -> None:
        for before in run.room("wandb").glob(f"offline-run-*-{run.id}"):
            shutil.rmtree(before)
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        self.run = wandb.init(
            mode="online" if run.online else "offline",
            dir=run.folder,
            id=run.id,
            name=run.name,
            project=run.project,
            entity=run.org,
            group=run.group,
            job_type=run.command,
            config=dict(run.config),
            resume="allow" if run.online else None,
            allow_val_change=True,
            settings=settings,
        )

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """The numbers of one step, unless the server has it."""
        if step >= self.run.starting_step:
            self.run.log(dict(metrics), step=step, commit=True)

    def finish(self, ended: bool) -> None:
        """End the run, as failed if it was stopped."""
        self.run.finish(exit_code=0 if ended else 1)


start = Wandb
