"""The system calls a judged program may make, by the numbers they have on x86-64 and on arm64.

What is not in these tables is refused: sockets, new processes and programs, signals to others, tracing, mounts, keys,
shared memory outside the address space, asynchronous rings, higher limits.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A processor as seccomp knows it. audit: its AUDIT_ARCH number. calls: name -> number."""

    audit: int
    calls: dict[str, int]

    def numbers(self, names: str) -> list[int]:
        """The numbers of those of the calls, separated by spaces, that this processor has."""
        return [self.calls[name] for name in names.split() if name in self.calls]


ANYTHING = (
    "read write close fstat lseek poll ppoll select pselect6 mmap mprotect munmap mremap brk madvise mincore "
    "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait sigaltstack pause "
    "restart_syscall pread64 pwrite64 readv writev stat lstat newfstatat statx access faccessat faccessat2 readlink "
    "readlinkat getcwd chdir fchdir getdents getdents64 pipe pipe2 dup dup2 dup3 sched_yield sched_getaffinity "
    "nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getitimer setitimer alarm getpid "
    "getppid gettid getuid geteuid getgid getegid getpgrp getpgid uname sysinfo getrlimit getrusage futex "
    "set_tid_address set_robust_list rseq getrandom arch_prctl umask exit exit_group epoll_create1 epoll_ctl "
    "epoll_wait epoll_pwait epoll_pwait2 sendto recvfrom shutdown"
)
"""Allowed with any arguments."""

CHANGING_FILES = (
    "open openat ftruncate fsync fdatasync sendfile rename renameat renameat2 mkdir mkdirat rmdir unlink unlinkat "
    "link linkat symlink symlinkat chmod fchmod fchmodat utimensat"
)
"""Allowed where the program has a file system of its own; elsewhere `open` and `openat` for reading alone."""

_X86_64 = """
read 0 write 1 open 2 close 3 stat 4 fstat 5 lstat 6 poll 7 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12 rt_sigaction 13
rt_sigprocmask 14 rt_sigreturn 15 ioctl 16 pread64 17 pwrite64 18 readv 19 writev 20 access 21 pipe 22 select 23
sched_yield 24 mremap 25 mincore 27 madvise 28 dup 32 dup2 33 pause 34 nanosleep 35 getitimer 36 alarm 37 setitimer 38
getpid 39 sendfile 40 sendto 44 recvfrom 45 shutdown 48 socketpair 53 clone 56 exit 60 kill 62 uname 63 fcntl 72
fsync 74 fdatasync 75 ftruncate 77 getdents 78 getcwd 79 chdir 80 fchdir 81 rename 82 mkdir 83 rmdir 84 link 86
unlink 87 symlink 88 readlink 89 chmod 90 fchmod 91 umask 95 gettimeofday 96 getrlimit 97 getrusage 98 sysinfo 99
times 100 getuid 102 getgid 104 geteuid 107 getegid 108 getppid 110 getpgrp 111 getpgid 121 rt_sigpending 127
rt_sigtimedwait 128 rt_sigsuspend 130 sigaltstack 131 arch_prctl 158 gettid 186 time 201 futex 202 sched_getaffinity 204
getdents64 217 set_tid_address 218 restart_syscall 219 clock_gettime 228 clock_getres 229 clock_nanosleep 230
exit_group 231 epoll_wait 232 epoll_ctl 233 tgkill 234 openat 257 mkdirat 258 newfstatat 262 unlinkat 263 renameat 264
linkat 265 symlinkat 266 readlinkat 267 fchmodat 268 faccessat 269 pselect6 270 ppoll 271 set_robust_list 273
utimensat 280 epoll_pwait 281 epoll_create1 291 dup3 292 pipe2 293 prlimit64 302 renameat2 316 getrandom 318 statx 332
rseq 334 clone3 435 faccessat2 439 epoll_pwait2 441
"""

_ARM64 = """
getcwd 17 epoll_create1 20 epoll_ctl 21 epoll_pwait 22 dup 23 dup3 24 fcntl 25 ioctl 29 mkdirat 34 unlinkat 35
symlinkat 36 linkat 37 renameat 38 ftruncate 46 faccessat 48 chdir 49 fchdir 50 fchmod 52 fchmodat 53 openat 56 close 57
pipe2 59 getdents64 61 lseek 62 read 63 write 64 readv 65 writev 66 pread64 67 pwrite64 68 sendfile 71 pselect6 72
ppoll 73 readlinkat 78 newfstatat 79 fstat 80 fsync 82 fdatasync 83 utimensat 88 exit 93 exit_group 94
set_tid_address 96 futex 98 set_robust_list 99 nanosleep 101 getitimer 102 setitimer 103 clock_gettime 113
clock_getres 114 clock_nanosleep 115 sched_getaffinity 123 sched_yield 124 restart_syscall 128 kill 129 tgkill 131
sigaltstack 132 rt_sigsuspend 133 rt_sigaction 134 rt_sigprocmask 135 rt_sigpending 136 rt_sigtimedwait 137
rt_sigreturn 139 times 153 getpgid 155 uname 160 getrlimit 163 getrusage 165 umask 166 gettimeofday 169 getpid 172
getppid 173 getuid 174 geteuid 175 getgid 176 getegid 177 gettid 178 sysinfo 179 socketpair 199 sendto 206 recvfrom 207
shutdown 210 brk 214 munmap 215 mremap 216 clone 220 mmap 222 mprotect 226 mincore 232 madvise 233 prlimit64 261
renameat2 276 getrandom 278 statx 291 rseq 293 clone3 435 faccessat2 439 epoll_pwait2 441
"""


def _table(text: str) -> dict[str, int]:
    words = text.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


MACHINES = {"x86_64": Machine(0xC000003E, _table(_X86_64)), "aarch64": Machine(0xC00000B7, _table(_ARM64))}


def this_machine() -> Machine | None:
    """The tables of this processor, or None where there are none."""
    return MACHINES.get(platform.machine())
