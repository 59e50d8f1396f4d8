"""Where a run's numbers go besides metrics.jsonl."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackingArgs:
    """Trackers (the numbers of metrics.jsonl elsewhere, too)"""

    use_wandb: bool = False
    """write the numbers for Weights & Biases into output_dir/wandb"""
    use_tensorboard: bool = False
    """write the numbers for TensorBoard into output_dir/tensorboard, or the folder --tensorboard_dir"""
    tensorboard_dir: str | None = None
    """folder that several runs share, each with a folder of its name in it"""
    use_swanlab: bool = False
    """write the numbers for SwanLab into output_dir/swanlab"""
    use_trackio: bool = False
    """write the numbers for trackio into output_dir/trackio"""
    tracker_online: bool = False
    """send them as they come, with the keys the trackers' own environment variables hold; else nothing is sent"""
    tracker_project: str = "lightrft"
    """project of the run in every tracker"""
    tracker_run_name: str | None = None
    """name of the run in every tracker; default: that of output_dir"""
    tracker_group: str | None = None
    """group of the run in every tracker"""
    tracker_org: str | None = None
    """team at Weights & Biases, or workspace at SwanLab, that the run is sent to"""
