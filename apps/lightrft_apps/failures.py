"""Failures a user can do something about end a command with their message; anything else keeps its traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
"""How every library that writes files says it, whatever the class of its error."""

RESUMING = ("rl", "sft", "srm", "grm", "quickstart", "compare", "launch")
"""Commands that find what they have done before in --output_dir."""

THEN = "the same command goes on from the newest checkpoint, or begins again where --save_steps has made none"

LESS_TO_LEARN = (
    "lower --max_tokens_per_micro_batch, set --gradient_checkpointing or --bf16, or where an engine shares the device, "
    "lower --engine_mem_util (lightrft plan tells what a run needs, and which flag to change)"
)
LESS_TO_ANSWER = "set --bf16, lower --micro_rollout_batch_size, or use a device with more memory"


@contextmanager
def explained(command: str) -> Iterator[None]:
    """Turn an expected failure into its message on stderr and exit code 1, an interrupt into exit code 130.

    What is expected is known by classes whose import costs seconds: they are looked at once something has failed, and
    whatever else it was is raised as it is.
    """
    resumes = command.removeprefix("lightrft ") in RESUMING
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{command}: interrupted{f'; {THEN}' if resumes else ''}\n")
        raise SystemExit(130) from None
    except Exception as error:
        advice = _advice(error, resumes=resumes)
        if not isinstance(error, _expected()) and not advice:
            raise
        sys.stderr.write(f"{command}: {error}{f'; {advice}' if advice else ''}\n")
        raise SystemExit(1) from None


def _advice(error: Exception, *, resumes: bool) -> str:
    """What to do where the machine has no more room or gives no leave; "" where it was something else."""
    from torch import OutOfMemoryError

    text = "; ".join(map(str, (error, error.__cause__)))
    if any(words in text for words in DISK_FULL):
        return f"make room, or keep fewer checkpoints (--max_ckpt_num), and {THEN}" if resumes else "make room"
    if isinstance(error, OutOfMemoryError):
        return LESS_TO_LEARN if resumes else LESS_TO_ANSWER
    if isinstance(error, PermissionError):
        return "give a place that you may read and write, such as another --output_dir, or have its permissions changed"
    return ""


def _expected() -> tuple[type[Exception], ...]:
    from lightrft_apps.config import ConfigError
    from lightrft_apps.models.parallel import RankLost
    from lightrft_apps.recording.directory import RunDirectoryError
    from lightrft_core import TrainingDiverged
    from lightrft_rewards import RewardFailure, RewardSetupError
    from lightrft_strategy.data import PromptDataError
    from lightrft_strategy.engines.backend import EngineDied, EngineRefused, EngineTimeout
    from lightrft_strategy.engines.sync.receipt import SyncError

    of_rewards, of_engines = (RewardFailure, RewardSetupError), (EngineDied, EngineRefused, EngineTimeout, SyncError)
    return (ConfigError, PromptDataError, RankLost, RunDirectoryError, TrainingDiverged, *of_rewards, *of_engines)
