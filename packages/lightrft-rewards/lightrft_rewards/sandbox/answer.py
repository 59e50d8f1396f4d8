"""The first code of a program's own process after its confinement: it runs the answer, and what is to follow."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from lightrft_rewards.sandbox.launch import PROOF, TOKEN

_TOKEN_ROOM = 64


def run_answer(answer: str, then: str, *, as_main: bool, packages: Sequence[str]) -> None:
    """Run Python source, then more of it in the same module; if neither raises, write the token to the proof.

    The token is read, and its descriptor closed, before any of it runs.
    as_main: whether the module is __main__. packages: folders to import from, after the standard library.
    The caller should let the interpreter end as usual, so that threads are waited for and exit functions run; the
    process then ends with the answer's exit code, before the interpreter is taken apart, which is slow.
    """
    codes: list[int] = []
    atexit.register(lambda: _leave(*codes))
    _set_stage(packages)
    token = os.read(TOKEN, _TOKEN_ROOM)
    os.close(TOKEN)
    module = ModuleType("__main__" if as_main else "answer")
    sys.modules[module.__name__] = module
    try:
        exec(compile(answer, "answer.py", "exec", dont_inherit=True), vars(module))
        exec(compile(then, "tests.py", "exec", dont_inherit=True), vars(module))
        os.write(PROOF, token)
        codes.append(0)
    except SystemExit as ending:
        codes.append(_exit_code(ending))
    except BaseException as error:  # noqa: BLE001
        trace = error.__traceback__
        traceback.print_exception(error.with_traceback(trace and trace.tb_next))
        codes.append(1)


def _exit_code(ending: SystemExit) -> int:
    """As the interpreter has it."""
    if ending.code is None or isinstance(ending.code, int):
        return ending.code or 0
    print(ending.code, file=sys.stderr)  # noqa: T201
    return 1


def _leave(code: int) -> None:
    """Registered first, called last of all exit functions."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code & 0xFF)


def _set_stage(packages: Sequence[str]) -> None:
    """Arguments, path and signals as a program of its own has them; the standard streams are the server's objects."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["answer.py"]
    prefixes = (sys.base_prefix, sys.base_exec_prefix)
    own = [path for path in sys.path if path.startswith(prefixes) and path not in packages]
    sys.path = [str(Path.cwd()), *own, *packages]
