"""Runs a command and does not let it outlive the process that asked: process_guard.py PARENT COMMAND...

Started as the leader of a process group; needs the standard library alone, so that it starts at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.2


def die_with_guard() -> None:
    """Between fork and exec of the command: have Linux end it should the guard be killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(parent: int, command: list[str]) -> int:
    """The command's exit code, 128 + n if signal n ended it. Kills the whole group, itself too, if the parent ends."""
    child = subprocess.Popen(command, preexec_fn=die_with_guard)
    signal.signal(signal.SIGTERM, lambda *_: None)
    while child.poll() is None:
        if os.getppid() != parent:
            os.killpg(0, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
