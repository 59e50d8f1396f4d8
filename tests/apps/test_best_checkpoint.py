"""The checkpoint of the best held-out accuracy is kept, however old it is."""

from __future__ import annotations

import json
from pathlib import Path

from lightrft_apps.recording.directory import RunDirectory
from lightrft_strategy.checkpoints import checkpoints, write_checkpoint


def test_the_best_of_the_checkpoints_is_known_by_the_metrics(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.best() is None
    for step in (2, 4, 6):
        write_checkpoint(run.checkpoints, step, lambda folder: (folder / "state").touch(), keep=9)
    accuracies = {2: 0.5, 3: 0.9, 4: 0.7, 5: None, 6: 0.7}
    lines = [{"step": s} | ({} if a is None else {"eval/accuracy": a}) for s, a in accuracies.items()]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 7, "eval/acc')
    assert run.best() == 6, "the latest of equals; step 3 has no checkpoint"
    assert run.best(3) == 3


def test_the_best_outlives_newer_ones(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for step, accuracy in enumerate([0.4, 0.9, 0.5, 0.6], start=1):
        with run.metrics.open("a") as file:
            file.write(json.dumps({"step": step, "eval/accuracy": accuracy}) + "\n")
        write_checkpoint(run.checkpoints, step, lambda folder: (folder / "state").touch(), keep=1, best=run.best(step))
    assert list(checkpoints(run.checkpoints)) == [2, 4]
