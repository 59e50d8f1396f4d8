"""Starts many processes of driver.py without each importing torch anew: a server that forks.

It reads one request a line, {"moment", "count", "words", "patience", "log"}, has a fork of itself do as driver.main
with its output in the file `log`, kills it after `patience` seconds unless that is null, and answers with a line: the
exit code, -9 if it was killed. It has computed nothing itself, so a fork of it is like a process that has just started.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from contextlib import redirect_stdout, suppress
from functools import partial
from importlib import import_module
from typing import Any

import driver

from lightrft_strategy import roofline

for late in ("pandas", "deepspeed"):  # what Arrow and Transformers import when a run writes its first file
    with suppress(ImportError), redirect_stdout(sys.stderr):
        import_module(late)


def child(request: dict[str, Any]) -> int:
    """Exit code of the command. Runs in the fork; an unexpected error ends it with a traceback."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    roofline.memory_bandwidth = partial(roofline.memory_bandwidth, 2**24)  # over less memory, in less time
    try:
        driver.main(request["moment"], request["count"], request["words"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def main() -> None:
    gc.freeze()  # so that no fork's garbage collection makes it copy what it shares with the others
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if not process:
            code = child(request)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        if request["patience"] is not None:
            time.sleep(request["patience"])
            os.kill(process, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
