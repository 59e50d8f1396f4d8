"""The sandbox: hostile programs are contained, honest ones run, and it refuses where it cannot confine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import lightrft_rewards
from lightrft_rewards.sandbox import Limits, Sandbox
from lightrft_rewards.sandbox.session import Run

from .hostile_programs import HOSTILE, Hostile

TIGHT = Limits(cpu_seconds=1, memory=128 << 20, folder=8 << 20, output=1 << 20, threads=8)
SLOW = [hostile for hostile in HOSTILE if hostile.bound]
QUICK = [hostile for hostile in HOSTILE if not hostile.bound]


@pytest.fixture(scope="module", params=[True, False], ids=["namespaces", "without namespaces"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTILE_SECRET", "in the parent's environment")
        with Sandbox(jailed=request.param) as made:
            yield made


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What hostile programs are told of the world outside, which is open to all but them."""
    folder = tmp_path_factory.mktemp("outside")
    folder.chmod(0o777)
    secret = folder / "secret"
    secret.write_text("ESCAPED")
    secret.chmod(0o666)
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        name = f"lightrft-{os.getpid()}"
        local.bind(f"{folder}/socket")
        local.listen()
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {
            "parent": str(os.getpid()),
            "secret": str(secret),
            "folder": str(folder),
            "port": str(tcp.getsockname()[1]),
            "socket": f"{folder}/socket",
            "abstract": name,
        }


def try_out(sandbox: Sandbox, hostile: Hostile, outside: dict[str, str]) -> Run:
    facts = "".join(f"{name}={value}\n" for name, value in outside.items())
    seconds = 0.4 if hostile.bound == "clock" else 60
    return sandbox.run(hostile.program, stdin=facts, limits=replace(TIGHT, wall_seconds=seconds))


def processes_of(user: int) -> list[str]:
    found = []
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == user:
                found.append(entry.name)
    return found


def is_contained(sandbox: Sandbox, hostile: Hostile, outside: dict[str, str]) -> None:
    before = sorted(path.name for path in Path(outside["folder"]).iterdir())
    run = try_out(sandbox, hostile, outside)
    assert "ESCAPED" not in run.stdout, run.stdout
    assert hostile.status in ("", run.status), run
    assert "ESCAPED" not in run.stderr
    assert run.peak < 256 << 20
    assert run.wall_seconds < 30 or hostile.bound != "clock"
    assert run.cpu_seconds < 2.5
    assert hostile.bound != "processor" or "seconds of processor time" in run.how
    assert sorted(path.name for path in Path(outside["folder"]).iterdir()) == before
    assert Path(outside["secret"]).read_text() == "ESCAPED"
    if os.geteuid() == 0:
        assert processes_of(sandbox.means["user"]) == []
    assert sandbox.run("print(input())", stdin="well").stdout == "well\n"


@pytest.mark.parametrize("hostile", QUICK, ids=lambda hostile: hostile.name)
def test_a_hostile_program_is_contained(sandbox: Sandbox, hostile: Hostile, outside: dict[str, str]) -> None:
    is_contained(sandbox, hostile, outside)


@pytest.mark.parametrize("name", ["infinite loop", "endless sleep"])
def test_a_program_without_end_is_ended(sandbox: Sandbox, name: str, outside: dict[str, str]) -> None:
    if sandbox.means["jailed"] or name != "infinite loop":
        is_contained(sandbox, next(hostile for hostile in SLOW if hostile.name == name), outside)


@pytest.mark.proof
@pytest.mark.parametrize("hostile", SLOW, ids=lambda hostile: hostile.name)
def test_every_program_without_end_is_ended(sandbox: Sandbox, hostile: Hostile, outside: dict[str, str]) -> None:
    is_contained(sandbox, hostile, outside)


HONEST = [
    ("print(sum(map(int, input().split())))", "3 4\n", "7\n"),
    ("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])", "abc", "cba"),
    ("import atexit; atexit.register(print, 'last'); print('first')", "", "first\nlast\n"),
    ("import threading; threading.Timer(0.05, print, ['later']).start()", "", "later\n"),
    ("from concurrent.futures import ThreadPoolExecutor as P\nprint(*P(4).map(abs, [-1, -2]))", "", "1 2\n"),
    ("import asyncio\nasync def f(): await asyncio.sleep(0); print('async')\nasyncio.run(f())", "", "async\n"),
    ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int'\nprint(A(3))", "", "A(x=3)\n"),
    ("if __name__ == '__main__': print('main')", "", "main\n"),
    ("print(__import__('os').environ.get('HOSTILE_SECRET'), len({'a', 'b'}))", "", "None 2\n"),
    ("print(input()); print('\u00e9\u4e2d')", "\u00fc", "\u00fc\n\u00e9\u4e2d\n"),
    ("import typing_extensions; print(typing_extensions.__name__)", "", "typing_extensions\n"),
    (
        "import sys, threading\nsys.setrecursionlimit(10**6); threading.stack_size(64 << 20)\n"
        "def f(n): return n and 1 + f(n - 1)\n"
        "t = threading.Thread(target=lambda: print(f(20000))); t.start(); t.join()",
        "",
        "20000\n",
    ),
]


@pytest.mark.parametrize(("program", "stdin", "stdout"), HONEST)
def test_an_honest_program_runs_as_anywhere(sandbox: Sandbox, program: str, stdin: str, stdout: str) -> None:
    run = sandbox.run(program, stdin=stdin)
    assert (run.status, run.stdout, run.stderr, run.finished) == ("ok", stdout, "", True)


@pytest.mark.parametrize(
    ("program", "status", "how", "says"),
    [
        ("raise SystemExit(3)", "error", "exit code 3", ""),
        ("raise SystemExit('no luck')", "error", "exit code 1", "no luck\n"),
        ("import sys; sys.exit()", "ok", "exit code 0", ""),
        ("1 / 0", "error", "exit code 1", "ZeroDivisionError: division by zero\n"),
        ("print('a'", "error", "exit code 1", "SyntaxError: '(' was never closed\n"),
        ("print('\\0')\0", "error", "exit code 1", "SyntaxError: source code string cannot contain null bytes\n"),
        ("import os; os.abort()", "error", "killed by signal 6", ""),
    ],
)
def test_how_a_program_ends_is_told(sandbox: Sandbox, program: str, status: str, how: str, says: str) -> None:
    run = sandbox.run(program)
    assert (run.status, run.how) == (status, how)
    assert run.stderr.endswith(says)


@pytest.mark.parametrize(
    "way",
    [
        "sys.exit(0)",
        "os._exit(0)",
        "os.write(4, b'guess'); os._exit(0)",
        "os.write(4, os.read(3, 64)); os._exit(0)",
        "1 / 0",
        "sys.exit()",
    ],
)
def test_only_what_ran_to_its_last_line_has_finished(sandbox: Sandbox, way: str) -> None:
    assert sandbox.run("x = 1", then="assert x == 1").finished
    assert not sandbox.run("x = 1", then="assert x == 2").finished
    assert not sandbox.run(f"import os, sys\n{way}", then="assert True").finished
    assert not sandbox.run(f"import os, sys\ndef f(): {way}", then="assert f() is None").finished


def test_a_folder_is_there_only_in_namespaces_and_is_new_for_each_program(sandbox: Sandbox) -> None:
    program = """if True:
        import os, tempfile
        try:
            with tempfile.TemporaryFile() as file:
                file.write(b"x" * 1000)
            open("left", "x").close()
            print(os.listdir("."))
        except OSError:
            print("no folder")
    """
    shown = "['left']\n" if sandbox.means["jailed"] else "no folder\n"
    assert [sandbox.run(program).stdout for _ in range(2)] == [shown, shown]


def test_a_program_has_no_rights_left(sandbox: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user's programs cannot be told from his other processes")
    user = sandbox.means["user"]
    found: dict[str, str] = {}

    def confined() -> bool:
        for process in processes_of(user):
            with contextlib.suppress(OSError):
                found.update(rights(process))
        return found.get("Seccomp") == "2"

    thread = threading.Thread(target=sandbox.run, args=["import time; time.sleep(2)"])
    thread.start()
    assert eventually(confined)
    thread.join()
    assert {found[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
    assert (found["NoNewPrivs"], found["Seccomp"], found["Groups"]) == ("1", "2", "")
    assert found["Uid"].split() == [str(user)] * 3 + ["0"]


def rights(process: str) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.proof
def test_programs_that_end_at_once_end_nothing_else(sandbox: Sandbox) -> None:
    server = sandbox._server
    assert [sandbox.run("import os; os._exit(3)").how for _ in range(1500)] == ["exit code 3"] * 1500
    assert sandbox._server is server


def test_threads_take_turns(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(6) as threads:
        runs = list(threads.map(lambda n: sandbox.run("print(input())", stdin=str(n)).stdout, range(24)))
    assert runs == [f"{n}\n" for n in range(24)]


def test_its_limits_are_the_programs_own(sandbox: Sandbox) -> None:
    assert sandbox.run("bytearray(100 << 20)", limits=Limits(memory=256 << 20)).status == "ok"
    assert sandbox.run("bytearray(100 << 20)", limits=Limits(memory=64 << 20)).stderr.endswith("MemoryError\n")
    with pytest.raises(ValueError, match="must be above 0; memory, threads"):
        Limits(memory=0, threads=-1)


def test_a_server_that_is_killed_takes_its_program_along_and_is_replaced(outside: dict[str, str]) -> None:
    with Sandbox() as sandbox:
        assert sandbox._server is not None
        threading.Timer(0.3, sandbox._server.kill).start()
        with pytest.raises(RuntimeError, match="server ended unexpectedly"):
            sandbox.run("import time; time.sleep(600)", limits=Limits(wall_seconds=600))
        user = sandbox.means["user"]
        assert eventually(lambda: os.geteuid() != 0 or not processes_of(user))
        assert sandbox.run("print(1)").stdout == "1\n"


def test_nothing_outlives_the_process_that_holds_the_sandbox() -> None:
    holder = textwrap.dedent("""
        import threading
        from lightrft_rewards.sandbox import Limits, Sandbox
        sandbox = Sandbox()
        run = {"answer": "while True: pass", "limits": Limits(cpu_seconds=600, wall_seconds=600)}
        threading.Thread(target=sandbox.run, kwargs=run, daemon=True).start()
        print(sandbox._server.pid, sandbox.means["user"], flush=True)
        threading.Event().wait()
    """)
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server, user = parent.stdout.readline().split()
        root = os.geteuid() == 0
        assert not root or eventually(lambda: bool(processes_of(int(user))))
        parent.kill()
    assert eventually(lambda: not Path(f"/proc/{server}").exists())
    assert not root or eventually(lambda: not processes_of(int(user)))


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it holds within a minute."""
    patience = time.monotonic() + 60
    while not holds():
        if time.monotonic() > patience:
            return False
        time.sleep(0.02)
    return True


AS_AN_ORDINARY_USER = """
import importlib.util, json, os, sys
packages, table, user, jailed = sys.argv[1:]
os.setgroups([])
os.setgid(int(user))
os.setuid(int(user))
sys.path.insert(0, packages)
specification = importlib.util.spec_from_file_location("hostile_programs", table)
programs = importlib.util.module_from_spec(specification)
sys.modules["hostile_programs"] = programs
specification.loader.exec_module(programs)
from lightrft_rewards.sandbox import Limits, Sandbox
outcomes = {}
with Sandbox(jailed=jailed == "True") as sandbox:
    for hostile in programs.HOSTILE:
        limits = Limits(1, 0.4 if hostile.bound == "clock" else 60, 128 << 20, 8 << 20, 1 << 20, threads=8)
        run = sandbox.run(hostile.program, stdin=FACTS, limits=limits)
        outcomes[hostile.name] = [run.status, run.stdout[:500], run.stderr[-500:]]
print(json.dumps(outcomes))
"""


@pytest.mark.proof
@pytest.mark.parametrize("jailed", [True, False], ids=["namespaces", "without namespaces"])
def test_an_ordinary_users_sandbox_contains_all_the_same(jailed: bool, outside: dict[str, str], tmp_path: Path) -> None:
    python, user = "/usr/bin/python3", 65534
    if os.geteuid() != 0 or not Path(python).exists():
        pytest.skip("root and the system's Python are needed, to become somebody whom others' folders are closed to")
    facts = "".join(f"{name}={value}\n" for name, value in outside.items())
    packages = tmp_path / "packages"
    shutil.copytree(Path(lightrft_rewards.__file__).parent, packages / "lightrft_rewards")
    table = shutil.copy(Path(__file__).parent / "hostile_programs.py", tmp_path)
    for folder in (tmp_path, *tmp_path.parents[:2], Path(outside["folder"]).parent):
        folder.chmod(0o755)
    program = AS_AN_ORDINARY_USER.replace("FACTS", repr(facts))
    done = subprocess.run(
        [python, "-c", program, str(packages), str(table), str(user), str(jailed)],
        capture_output=True,
        text=True,
        timeout=300,
        env={"TMPDIR": tempfile.gettempdir()},
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert len(outcomes) == len(HOSTILE)
    for hostile in HOSTILE:
        status, stdout, stderr = outcomes[hostile.name]
        assert "ESCAPED" not in stdout + stderr, (hostile.name, stdout, stderr)
        assert hostile.status in ("", status), (hostile.name, status, stderr)
