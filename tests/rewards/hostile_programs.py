"""Programs that want out of the sandbox, or to bring the machine down. One that succeeds prints ESCAPED.

Standard library alone: the table is also run by other Pythons and users than the tests'.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

_HELP = """
import ctypes, errno, os, platform, resource, signal, socket, struct, sys, threading, time
facts = dict(line.split("=", 1) for line in sys.stdin.read().splitlines())
libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"

def escaped(*what):
    print("ESCAPED", *what, flush=True)

def attempt(what, *arguments):
    try:
        result = what(*arguments)
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        return error
    escaped(what, arguments, result)

def call(x86, arm, *arguments):
    "A system call that must fail with EPERM, EACCES or ENOSYS."
    if (number := arm if ARM else x86) is None:
        return
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) >= 0:
        escaped("system call", number)
    elif ctypes.get_errno() not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        escaped("system call", number, "failed for another reason:", os.strerror(ctypes.get_errno()))
"""


@dataclass(frozen=True)
class Hostile:
    """name: what it tries. status: how it must end ("" for any way). bound: the time that ends it, by the "processor"
    or by the "clock", if one does.

    Its standard input tells: parent (the parent's process id), secret (a file anyone may read), folder (one where
    anyone may write), port (a TCP and UDP one that the parent listens on), socket and abstract (its UNIX sockets).
    """

    name: str
    source: str
    status: str = ""
    bound: str = ""

    @property
    def program(self) -> str:
        """Its Python source."""
        return _HELP + textwrap.dedent(self.source)


HOSTILE = [
    Hostile("fork bomb", "while True:\n    if os.fork() >= 0: escaped('fork')", "error"),
    Hostile("fork bomb that will not hear no", "while True:\n    attempt(os.fork)", "timeout", bound="processor"),
    Hostile(
        "fork by other names", "attempt(os.posix_spawn, '/bin/true', ['true'], {}); call(58, None); call(57, None)"
    ),
    Hostile(
        "fork by clone",
        """
        for flags in (0, 17, 0x4000 | 0x100, 0x10000000 | 17, 0x3D0F00 | 0x20000000):
            call(56, 220, flags, 0, 0, 0, 0)
        """,
    ),
    Hostile(
        "fork by clone3",
        "call(435, 435, ctypes.addressof(ctypes.create_string_buffer(struct.pack('11Q', *[0] * 11))), 88)",
    ),
    Hostile(
        "fork by 32-bit calls",
        """
        if not ARM:
            import mmap
            code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            code.write(bytes.fromhex("b802000000cd80c3"))
            address = ctypes.addressof(ctypes.c_char.from_buffer(code))
            escaped("int 0x80", ctypes.CFUNCTYPE(ctypes.c_int)(address)())
        raise SystemExit(1)
        """,
        "error",
    ),
    Hostile(
        "fork by x32 calls",
        "if not ARM:\n    libc.syscall(ctypes.c_long(0x40000000 | 57)); escaped('x32')\nraise SystemExit(1)",
        "error",
    ),
    Hostile(
        "thread bomb",
        """
        threading.stack_size(32768)
        held = threading.Event()
        try:
            for number in range(1500):
                threading.Thread(target=held.wait).start()
            escaped(number)
        except RuntimeError:
            held.set()
        """,
        "ok",
    ),
    Hostile(
        "daemon left behind",
        """
        for way in (os.fork, os.setsid, os.setpgrp):
            attempt(way)
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        """,
        "ok",
    ),
    Hostile("memory hog", "held = []\nwhile True: held.append(bytearray(1 << 24))", "error"),
    Hostile("memory in small pieces", "held = ['']\nwhile True: held += [bytes(1000) for _ in range(10000)]", "error"),
    Hostile(
        "memory outside the address space",
        """
        call(319, 279, ctypes.addressof(ctypes.create_string_buffer(b"m")), 0)
        call(29, 194, 0, 1 << 28, 0o1600)
        call(240, 180, ctypes.addressof(ctypes.create_string_buffer(b"/q")), 0o100, 0o600, 0)
        attempt(open, "/dev/shm/hog", "wb")
        """,
    ),
    Hostile(
        "memory in locks",
        """
        import fcntl
        with open("lock", "wb") if os.access(".", os.W_OK) else open(os.__file__, "rb") as file:
            attempt(fcntl.lockf, file, fcntl.LOCK_SH, 1, 2)
            attempt(fcntl.flock, file, fcntl.LOCK_SH)
        """,
    ),
    Hostile(
        "higher limits",
        """
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
            attempt(resource.setrlimit, kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            attempt(resource.prlimit, 0, kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        """,
        "ok",
    ),
    Hostile(
        "disk fill by one file",
        """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open("big", "wb") as file:
            while file.write(bytes(1 << 20)): pass
        """,
        "error",
    ),
    Hostile(
        "disk fill by many files",
        """
        for number in range(100):
            with open(f"big{number}", "wb") as file:
                file.write(bytes(1 << 20))
        escaped(number)
        """,
        "error",
    ),
    Hostile(
        "disk fill by empty files",
        "for number in range(20000): open(f'empty{number}', 'w').close()\nescaped(number)",
        "error",
    ),
    Hostile("infinite loop", "while True: pass", "timeout", bound="processor"),
    Hostile("infinite loop in C", "pow(7, 10 ** 8) % 3", "timeout", bound="processor"),
    Hostile(
        "deaf infinite loop",
        """
        for number in set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        while True: pass
        """,
        "timeout",
        bound="processor",
    ),
    Hostile("endless sleep", "time.sleep(1000)", "timeout", bound="clock"),
    Hostile("endless wait for input", "os.closerange(0, 3)\nthreading.Event().wait()", "timeout", bound="clock"),
    Hostile("stopping itself", "os.kill(os.getpid(), signal.SIGSTOP)", "timeout", bound="clock"),
    Hostile("huge output", "while True: os.write(1, b'x' * 65536)", "output"),
    Hostile("huge complaint", "while True: os.write(2, b'x' * 65536)", "timeout", bound="clock"),
    Hostile("crash", "ctypes.string_at(1)", "error"),
    Hostile(
        "TCP",
        """
        attempt(socket.create_connection, ("127.0.0.1", int(facts["port"])), 1)
        attempt(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
        attempt(socket.socket, socket.AF_INET6, socket.SOCK_STREAM)
        attempt(socket.create_server, ("127.0.0.1", 0))
        """,
    ),
    Hostile(
        "UDP and raw packets",
        """
        attempt(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)
        attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW)
        attempt(socket.getaddrinfo, "example.com", 80)
        """,
    ),
    Hostile(
        "UNIX sockets",
        """
        attempt(socket.socket, socket.AF_UNIX, socket.SOCK_STREAM)
        attempt(socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM)
        left, right = socket.socketpair()
        for address in (facts["socket"], "\\0" + facts["abstract"]):
            attempt(left.connect, address)
            attempt(left.sendto, b"x", address)
            attempt(left.bind, address + "2")
        """,
    ),
    Hostile("asynchronous rings", "call(425, 425, 8, ctypes.addressof(ctypes.create_string_buffer(200)))"),
    Hostile(
        "reading files",
        """
        for path in (facts["secret"], "/etc/passwd", "/etc/shadow", "/root" "/.bashrc", "/etc/hostname", "/bin/sh"):
            attempt(open, path)
        for folder in ("/root", "/home", "/etc", "/tmp", "/proc", "/sys", "/var", os.path.dirname(facts["secret"])):
            attempt(os.listdir, folder)
        """,
        "ok",
    ),
    Hostile(
        "reading the parent",
        """
        for process in (facts["parent"], os.getppid(), "1", "self", "thread-self"):
            for name in ("environ", "cmdline", "mem", "maps", "status", "root/etc/passwd", "cwd/pyproject.toml"):
                attempt(open, f"/proc/{process}/{name}", "rb")
        for process in (facts["parent"], "1"):
            attempt(os.readlink, f"/proc/{process}/cwd")
        escaped("environment") if "HOSTILE_SECRET" in os.environ else None
        """,
        "ok",
    ),
    Hostile(
        "reading what was left open",
        """
        for descriptor in [5, *range(6, 1024)]:
            attempt(os.fstat, descriptor)
        """,
        "ok",
    ),
    Hostile(
        "writing files",
        """
        for path in (facts["secret"], facts["folder"] + "/new", "/tmp" "/new", "/dev/shm/new", "/new", os.__file__):
            for mode in ("w", "a", "r+", "x"):
                attempt(open, path, mode)
            attempt(os.open, path, os.O_RDONLY | os.O_TRUNC)
            attempt(os.truncate, path, 0)
        for way in (os.unlink, os.rmdir):
            attempt(way, facts["secret"])
            attempt(way, facts["folder"])
        attempt(os.mkdir, facts["folder"] + "/new")
        attempt(os.chmod, facts["secret"], 0)
        attempt(os.utime, facts["secret"], (0, 0))
        attempt(os.rename, facts["secret"], facts["folder"] + "/new")
        attempt(os.chown, facts["secret"], 1, 1)
        attempt(os.mkfifo, facts["folder"] + "/fifo")
        attempt(os.mknod, "device", 0o60666, os.makedev(254, 0))
        """,
        "ok",
    ),
    Hostile(
        "links out",
        """
        ways = (facts["secret"], "/etc/passwd", "/proc/self/root" "/etc/passwd", "../" * 20 + "etc/passwd")
        for number, target in enumerate(ways):
            attempt(open, target)
            try:
                os.symlink(target, f"link{number}")
            except OSError:
                continue
            attempt(open, f"link{number}")
            attempt(open, f"link{number}", "w")
        attempt(os.link, facts["secret"], "hard")
        attempt(os.link, "/etc/passwd", "hard")
        """,
        "ok",
    ),
    Hostile(
        "signals",
        """
        for target in (int(facts["parent"]), os.getppid(), 1, 0, -1, -int(facts["parent"])):
            for number in (0, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
                attempt(os.kill, target, number)
        attempt(os.killpg, 0, signal.SIGTERM)
        attempt(os.pidfd_open, os.getppid())
        call(200, 130, int(facts["parent"]), 9)
        call(129, 138, int(facts["parent"]), 9, ctypes.addressof(ctypes.create_string_buffer(128)))
        """,
        "ok",
    ),
    Hostile(
        "signals by way of files",
        """
        import fcntl
        reader, writer = os.pipe()
        for command in (fcntl.F_SETOWN, fcntl.F_SETSIG, 15, fcntl.F_NOTIFY, fcntl.F_SETPIPE_SZ):
            attempt(fcntl.fcntl, reader, command, int(facts["parent"]))
        """,
        "ok",
    ),
    Hostile(
        "tracing",
        """
        for request in (0, 16, 0x4206):
            call(101, 117, request, int(facts["parent"]), 0, 0)
        call(310, 270, int(facts["parent"]), 0, 0, 0, 0, 0)
        call(311, 271, int(facts["parent"]), 0, 0, 0, 0, 0)
        call(312, 272, int(facts["parent"]), os.getpid(), 0, 0, 0)
        """,
        "ok",
    ),
    Hostile(
        "other programs",
        """
        import subprocess
        for program in ("/bin/sh", sys.executable):
            attempt(os.execv, program, [program, "-c", "echo ESCAPED"])
            attempt(subprocess.run, [program, "-c", "echo ESCAPED"])
        attempt(os.system, "echo ESCAPED") if os.system("echo ESCAPED") == 0 else None
        call(59, 221, 0, 0, 0)
        call(322, 281, -100, ctypes.addressof(ctypes.create_string_buffer(b"/bin/sh")), 0, 0, 0)
        """,
        "ok",
    ),
    Hostile(
        "becoming somebody",
        """
        for way in (os.setuid, os.setgid, os.seteuid, os.setegid):
            attempt(way, 0)
        attempt(os.setgroups, [0])
        attempt(os.nice, -5)
        attempt(os.sched_setaffinity, 0, [0])
        call(126, 91, 0, 0)
        call(135, 92, 0)
        """,
        "ok",
    ),
    Hostile(
        "another root",
        """
        attempt(os.chroot, ".")
        for x86, arm in ((165, 40), (166, 39), (155, 41), (428, 428), (429, 429), (442, 442), (161, 51)):
            call(x86, arm, 0, 0, 0, 0, 0)
        for flags in (0x10000000, 0x20000, 0x20000000, 0x40000000):
            call(272, 97, flags)
        call(308, 268, 0, 0)
        """,
        "ok",
    ),
    Hostile(
        "looser rules",
        """
        for option in (1, 22, 38, 4, 8, 24, 36):
            call(157, 167, option, 0, 0, 0, 0)
        call(317, 277, 0, 0, 0)
        call(444, 444, 0, 0, 1)
        """,
        "ok",
    ),
    Hostile(
        "the rest of the kernel",
        """
        for x86, arm in ((321, 280), (298, 241), (250, 219), (248, 217), (323, 282), (246, 104), (169, 142), (175, 105),
                         (304, 265), (164, 170), (103, 116), (133, None), (134, None), (172, None), (425, 425),
                         (437, 437), (434, 434), (438, 438), (440, 440), (253, None), (294, 26), (300, 262),
                         (216, 234)):
            call(x86, arm, 0, 0, 0, 0, 0)
        """,
        "ok",
    ),
]
