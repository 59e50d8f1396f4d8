"""The trial of a sandbox: a program that attempts what no program may, and says where it got through."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lightrft_rewards.sandbox.limits import Limits

if TYPE_CHECKING:
    from lightrft_rewards.sandbox.session import Run

_LIMITS = Limits(threads=8)
_THREADS = 2048

_ATTEMPTS = """
import json, os, signal, socket, sys, threading

parent, folder, memory, threads = json.load(sys.stdin)

def tcp():
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)

def udp():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

def local():
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

def read():
    open(os.path.join(folder, "secret")).read()

def write():
    open(os.path.join(folder, "written"), "w")

def listing():
    os.listdir("/proc")

def fork():
    if os.fork() == 0:
        os._exit(0)

def signals():
    os.kill(parent, 0)

def group():
    os.kill(0, 0)

def thread():
    threading.stack_size(32768)
    held = threading.Event()
    try:
        for _ in range(threads):
            threading.Thread(target=held.wait).start()
    finally:
        held.set()

def space():
    bytearray(memory)

attempts = {
    "network": [tcp, udp, local], "files": [read, write, listing], "processes": [fork, signals, group, thread],
    "memory": [space],
}
found = []
for what, ways in attempts.items():
    for way in ways:
        try:
            way()
        except (OSError, MemoryError, RuntimeError):
            continue
        found.append(f"{what} ({way.__name__})")
print(json.dumps(found))
"""


def escapes(run: Callable[..., Run]) -> list[str]:
    """What a program run this way can do though it must not, such as "network (tcp)"; empty if it is confined."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        secret = Path(folder) / "secret"
        secret.write_text("secret")
        secret.chmod(0o666)
        facts = [os.getpid(), folder, 2 * _LIMITS.memory, _THREADS]
        seen = run(_ATTEMPTS, stdin=json.dumps(facts), limits=_LIMITS)
        written = (Path(folder) / "written").exists()
    if seen.status != "ok":
        return [f"a program at all ({seen.how}; {seen.stderr.strip()[-500:]})"]
    found: list[str] = json.loads(seen.stdout)
    return [*found, *(["files (write)"] if written and "files (write)" not in found else [])]
