"""Programs nobody has read, run where they can do no harm: no network, no files but their own, bounded resources.

What confines them is the kernel, as root too, in layers that do not need each other:

- seccomp: only the system calls in `syscalls`; no sockets, no new processes or programs, no signals to others. Always.
- Landlock (Linux 5.13): reading of the Python installation and the system's libraries, and nothing else.
- Namespaces, where the machine allows them: no network, no other process, a root of its own, a folder in memory. One of
  these two has to be there; without namespaces programs write no files.
- Resource limits, under a user of its own where root runs it: processor time, address space, threads, files. With one
  process a program, what its address space holds is all the memory it has, so that no cgroup is needed.

A sandbox tries all of this when it starts, on a program that attempts what it must not be able to do, and refuses to
work where one of the attempts succeeds. `session` starts the `server`, which forks each program from itself (`launch`)
and looks after it (`watch`).
"""

from lightrft_rewards.sandbox.limits import Limits
from lightrft_rewards.sandbox.session import Run, Sandbox, SandboxRefusal

__all__ = ["Limits", "Run", "Sandbox", "SandboxRefusal"]
