"""Whether a run may be resumed under another configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FREE_ON_RESUME = frozenset(
    {
        "progress",
        "save_steps",
        "max_ckpt_num",
        "max_ckpt_mem",
        "save_hf_ckpt",
        "max_reward_error_share",
        "reward_workers",
        "remote_rm_url",
        "remote_rm_key_env",
        "llm_judge_url",
        "llm_judge_key_env",
        "judge_timeout",
        "engine_url",
        "engine_timeout",
        "enable_engine_sleep",
        "vllm_sync_backend",
        "fsdp",
        "fsdp_offload",
        "fsdp_reshard",
        "zero_stage",
        "adam_offload",
        "overlap_comm",
        "tp_size",
        "sp_size",
        "ring_attn_size",
        "ranks_timeout",
        "stall_timeout",
        "balance_speeds",
        "compile",
        "placement",
        "profile_steps",
        "use_wandb",
        "use_tensorboard",
        "tensorboard_dir",
        "use_swanlab",
        "use_trackio",
        "tracker_online",
        "tracker_project",
        "tracker_run_name",
        "tracker_group",
        "tracker_org",
    }
)
"""May change when a run is resumed: none of them touches a number the run computes, but for rounding."""

TOO_LATE = {
    "save_hf_ckpt": "lightrft export {folder} OUTPUT makes a folder for others of one of its checkpoints",
    "profile_steps": "only steps that are still to come are profiled",
}
"""Of these, those that have no effect once all steps are done, with what to do instead."""


def differences(old_flat: Mapping[str, Any], new_flat: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """name -> (old, new) of the values that make the new configuration another run than the old one.

    Lists equal tuples, a value left out equals None, and output_dir may be spelled in another way for the same folder.
    """
    names = [name for name in {**old_flat, **new_flat} if name not in FREE_ON_RESUME]
    pairs = {name: (old_flat.get(name), new_flat.get(name)) for name in names}
    return {name: (old, new) for name, (old, new) in pairs.items() if _comparable(name, old) != _comparable(name, new)}


def too_late(old_flat: Mapping[str, Any], new_flat: Mapping[str, Any], folder: Path) -> list[str]:
    """What to say of flags that a finished run is newly given, and that do nothing there any more."""
    return [
        f"the run is finished, so --{name} does nothing: {instead.format(folder=folder)}"
        for name, instead in TOO_LATE.items()
        if new_flat[name] and new_flat[name] != old_flat.get(name)
    ]


def _comparable(name: str, value: Any) -> Any:
    if name == "output_dir" and value is not None:
        return Path(value).expanduser().resolve()
    return list(value) if isinstance(value, tuple) else value
