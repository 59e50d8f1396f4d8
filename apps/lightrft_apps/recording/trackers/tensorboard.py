"""TensorBoard: one event file, in float32, which is what TensorBoard shows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import text

from lightrft_apps.recording.trackers.tracker import Tracked


class TensorBoard:
    """An event a step, in a file that is new each time the run goes on and replaces the one before.

    In a folder that runs share, of several of one name all but the first have their id in that of their folder.
    """

    def __init__(self, run: Tracked) -> None:
        folder = run.room("tensorboard") if run.shared is None else _own(Path(run.shared), run.name, run.id)
        folder.mkdir(parents=True, exist_ok=True)
        for before in folder.glob(f"events.out.tfevents.*.{run.id}"):
            before.unlink()
        self.file = EventsWriter(str(folder / "events"), f".{run.id}")
        listing = "\n".join(f"    {name}: {value}" for name, value in run.config.items())
        self._add(Event(step=0, summary=text("config", listing)))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """The numbers of one step."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._add(Event(step=step, summary=Summary(value=values)))

    def finish(self, ended: bool) -> None:
        """Close the file."""
        self.file.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self.file.write_event(event)
        self.file.flush()


def _own(shared: Path, name: str, identity: str) -> Path:
    """The run's folder among those of others: its name's, or one of its own where another run has taken that."""
    folder, second = shared / name, shared / f"{name}-{identity}"
    others = any(not file.name.endswith(f".{identity}") for file in folder.glob("events.out.tfevents.*"))
    return second if others or second.exists() else folder


start = TensorBoard
