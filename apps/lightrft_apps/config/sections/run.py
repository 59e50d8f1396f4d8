"""Where a run is kept, and how it is repeated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FolderArgs:
    """The run"""

    output_dir: str
    """folder for everything the run writes; a run stopped halfway goes on from it"""
    seed: int = 42
    """the same seed and configuration give the same run"""
    save_steps: int = -1
    """checkpoint every so many steps; -1: only at the end"""
    max_ckpt_num: int = 2
    """checkpoints to keep, the newest; the one that does best on what is held out is kept besides"""
    max_ckpt_mem: float | None = None
    """gigabytes that all checkpoints may take, with damaged ones put aside; the newest is kept in any case"""
    save_hf_ckpt: bool = False
    """also write the policy in Hugging Face form into every checkpoint, as its folder huggingface"""
    profile_steps: str | None = None
    """write where the time of these steps goes, such as 3-4, into output_dir/profile: traces, top operators by phase"""
    progress: bool = True
    """show progress on the terminal"""


@dataclass(frozen=True)
class RunArgs(FolderArgs):
    """The run"""

    save_trajectories: bool = True
    """keep every prompt, answer and reward as Parquet files"""
    save_media: bool = True
    """with them, what prompts show and play, small, for the report (lightrft report)"""
