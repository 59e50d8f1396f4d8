"""A run's numbers for W&B, TensorBoard, SwanLab and trackio: a process for each follows metrics.jsonl beside the run.

Whatever a tracker's library does (threads, hooks, a full disk, a hanging network) happens in its own process, so that
training neither waits for it nor stops with it. What it has written is metrics.jsonl, line by line.
"""

from lightrft_apps.recording.trackers.processes import Trackers, open_trackers

__all__ = ["Trackers", "open_trackers"]
