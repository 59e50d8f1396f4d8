"""Failures a user can do something about end a command with their message; anything else keeps its traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
"""How every library that writes files says it, whatever the class of its error."""

RESUMING = ("rl", "sft", "srm", "quickstart", "compare", "launch")
"""Commands that find what they have done before in --output_dir."""


@contextmanager
def explained(command: str) -> Iterator[None]:
    """Turn an expected failure into its message on stderr and exit code 1, an interrupt into exit code 130."""
    resumes = command.removeprefix("lightrft ") in RESUMING
    then = "the same command goes on from the newest checkpoint"
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{command}: interrupted{f'; {then}' if resumes else ''}\n")
        raise SystemExit(130) from None
    except Exception as error:
        text = "; ".join(map(str, (error, error.__cause__)))
        full = any(words in text for words in DISK_FULL)
        if not isinstance(error, _expected()) and not full:
            raise
        room = f"make room, or keep fewer checkpoints (--max_ckpt_num), and {then}" if resumes else "make room"
        sys.stderr.write(f"{command}: {error}{f'; {room}' if full else ''}\n")
        raise SystemExit(1) from None


def _expected() -> tuple[type[Exception], ...]:
    from lightrft_apps.config import ConfigError
    from lightrft_apps.parallel import RankLost
    from lightrft_apps.run_directory import RunDirectoryError
    from lightrft_core import TrainingDiverged
    from lightrft_rewards import RewardFailure, RewardSetupError
    from lightrft_strategy.data import PromptDataError
    from lightrft_strategy.engines.backend import EngineDied, EngineRefused, EngineTimeout
    from lightrft_strategy.engines.sync.receipt import SyncError

    of_rewards, of_engines = (RewardFailure, RewardSetupError), (EngineDied, EngineRefused, EngineTimeout, SyncError)
    return (ConfigError, PromptDataError, RankLost, RunDirectoryError, TrainingDiverged, *of_rewards, *of_engines)
