"""Whether the trackers that a run asks for are there, and what is said of them has an effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec

from lightrft_apps.config.checks.effects import without_effect
from lightrft_apps.config.checks.places import unusable_folder
from lightrft_apps.config.learning import LearningConfig
from lightrft_apps.config.sections import TrackingArgs

LIBRARIES = {"wandb": "wandb", "tensorboard": "tensorboardX", "swanlab": "swanlab", "trackio": "trackio"}
"""Each tracker, which is also the name of its extra -> the module that writes for it."""

_PROJECT = re.compile(r"[\w.+-]{1,100}", re.ASCII)
"""What all of them take."""


def chosen_trackers(args: TrackingArgs) -> tuple[str, ...]:
    """The trackers a run writes for."""
    asked = {
        "wandb": args.use_wandb,
        "tensorboard": args.use_tensorboard,
        "swanlab": args.use_swanlab,
        "trackio": args.use_trackio,
    }
    return tuple(name for name, wanted in asked.items() if wanted)


def tracking_problems(config: LearningConfig) -> Iterator[str]:
    """What to change about the flags of the trackers."""
    args = config.tracking
    names = chosen_trackers(args)
    for name in names:
        if find_spec(LIBRARIES[name]) is None:
            yield (
                f"--use_{name}: the package {LIBRARIES[name]} is not installed: uv pip install 'lightrft-apps[{name}]'"
            )
    if not _PROJECT.fullmatch(args.tracker_project):
        yield (
            f"--tracker_project {args.tracker_project}: set it to at most 100 letters, digits and - _ . +, "
            "such as lightrft"
        )
    for flag in ("tracker_run_name", "tracker_group", "tracker_org"):
        if getattr(args, flag) == "":
            yield f"--{flag} names nothing: give it a name, or leave it out"
    if args.tensorboard_dir is not None:
        yield from unusable_folder(args.tensorboard_dir, flag="tensorboard_dir")
        if args.tracker_run_name is not None and (args.tracker_run_name in (".", "..") or "/" in args.tracker_run_name):
            yield (
                f"--tracker_run_name {args.tracker_run_name}: --tensorboard_dir gives the run a folder of this name: "
                "leave out / and .."
            )
    others, sent = {*names} - {"tensorboard"}, {*names} & {"wandb", "swanlab"}
    any_other, any_sent = "set --use_wandb, --use_swanlab or --use_trackio", "set --use_wandb or --use_swanlab"
    yield from without_effect(
        config,
        [
            (("tensorboard_dir",), args.use_tensorboard, "set --use_tensorboard"),
            (("tracker_online", "tracker_project", "tracker_group"), bool(others), any_other),
            (("tracker_run_name",), bool(others) or args.tensorboard_dir is not None, any_other),
            (("tracker_org",), bool(sent), any_sent),
            (("tracker_org",), args.tracker_online or not sent, "set --tracker_online"),
        ],
    )
