"""The filter of system calls, run by an interpreter of its own; and what the sandbox does without its means."""

from __future__ import annotations

import json
import platform
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from lightrft_rewards.sandbox.probe import escapes
from lightrft_rewards.sandbox.seccomp import program
from lightrft_rewards.sandbox.session import Run
from lightrft_rewards.sandbox.syscalls import ANYTHING, CHANGING_FILES, MACHINES, Machine

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x50001, 0x50026
PROCESS = 4242
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def verdict(machine: Machine, number: int, *arguments: int, audit: int | None = None, own_files: bool = True) -> int:
    """What the filter makes of a call, by the rules of classic BPF."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, machine.audit if audit is None else audit, 0, *values)
    code, at, word = program(machine, own_files, PROCESS), 0, 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x06:
            return value
        if operation == 0x20:
            (word,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            word &= value
        elif operation == 0x15:
            at += if_true if word == value else if_false
        else:
            assert operation == 0x35
            at += if_true if word >= value else if_false


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("own_files", [True, False])
def test_calls_that_are_not_listed_are_refused_whatever_their_arguments(machine: Machine, own_files: bool) -> None:
    free = set(machine.numbers(f"{ANYTHING} {CHANGING_FILES}" if own_files else ANYTHING))
    some = set(machine.numbers("kill tgkill clone prlimit64 fcntl ioctl socketpair open openat"))
    for number in range(600):
        for arguments in ((), (1, 1, 1), (2**64 - 1,) * 6):
            given = verdict(machine, number, *arguments, own_files=own_files)
            if number in free:
                assert given == ALLOW
            elif number not in some:
                assert given == (ENOSYS if number == machine.calls["clone3"] else EPERM), number
        assert verdict(machine, number | 0x40000000, own_files=own_files) == KILL
        assert verdict(machine, number, audit=0x40000003, own_files=own_files) == KILL


THREAD = 0x3D0F00
CONDITIONS = [
    ("kill", (PROCESS, 9), True),
    ("kill", (0, 9), False),
    ("kill", (-1 % 2**64, 9), False),
    ("kill", (-PROCESS % 2**64, 9), False),
    ("kill", (PROCESS + 1, 9), False),
    ("tgkill", (PROCESS, PROCESS, 6), True),
    ("tgkill", (1, 1, 6), False),
    ("clone", (THREAD,), True),
    ("clone", (17,), False),
    ("clone", (0x4100 | 17,), False),
    ("clone", (THREAD & ~0x10000,), False),
    *(("clone", (THREAD | new,), False) for new in (0x20000, 0x80, *(1 << bit for bit in range(25, 31)))),
    ("prlimit64", (0, 7, 0, 99), True),
    ("prlimit64", (0, 7, 99, 0), False),
    ("prlimit64", (0, 7, 1 << 40, 0), False),
    ("fcntl", (3, 1030), True),
    ("fcntl", (3, 6), False),
    ("fcntl", (3, 8), False),
    ("fcntl", (3, 1031), False),
    ("ioctl", (0, 0x5401), True),
    ("ioctl", (0, 0x5412), False),
    ("socketpair", (1, 1), True),
    ("socketpair", (1, 1 | 0x80000), True),
    ("socketpair", (1, 2), False),
    ("socketpair", (1, 5), False),
    ("socketpair", (2, 1), False),
]


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize(("name", "arguments", "allowed"), CONDITIONS)
def test_some_calls_depend_on_their_arguments(
    machine: Machine, name: str, arguments: tuple[int, ...], allowed: bool
) -> None:
    for own_files in (True, False):
        assert verdict(machine, machine.calls[name], *arguments, own_files=own_files) == (ALLOW if allowed else EPERM)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("flags", [0o1, 0o2, 0o100, 0o1000, 0o20000000, 0o102, 0o1001])
def test_without_files_of_its_own_a_program_opens_none_for_writing(machine: Machine, flags: int) -> None:
    opening = [("openat", (0, 0, flags), (0, 0, 0o2000000))]
    opening += [("open", (0, flags), (0, 0o2000000))] if "open" in machine.calls else []
    for name, writing, reading in opening:
        assert verdict(machine, machine.calls[name], *writing, own_files=False) == EPERM
        assert verdict(machine, machine.calls[name], *reading, own_files=False) == ALLOW
        assert verdict(machine, machine.calls[name], *writing, own_files=True) == ALLOW


@pytest.mark.parametrize("name", MACHINES)
def test_the_numbers_of_the_calls_are_the_kernels(name: str) -> None:
    if not HEADERS[name].exists():
        pytest.skip(f"the kernel's headers ({HEADERS[name]}) are not installed here")
    text = HEADERS[name].read_text()
    defined = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text))
    aliases = {"newfstatat": "fstatat", "renameat": "renameat"}
    for call, number in MACHINES[name].calls.items():
        assert defined.get(call, defined.get(aliases.get(call, ""))) == str(number), call


def test_the_trial_finds_every_way_out_of_a_sandbox_that_is_none() -> None:
    def unconfined(answer: str, *, stdin: str, limits: object) -> Run:
        facts = json.dumps([*json.loads(stdin)[:3], 50])
        done = subprocess.run([sys.executable, "-c", answer], input=facts, capture_output=True, text=True, timeout=240)
        return Run("ok", "", True, done.stdout, done.stderr, 0.0, 0.0, 0)

    found = escapes(unconfined)
    assert {way.partition(" ")[0] for way in found} == {"network", "files", "processes", "memory"}
    assert {"network (local)", "files (read)", "files (write)", "processes (fork)", "processes (signals)"} <= set(found)


def test_a_program_that_does_not_even_run_is_no_proof_of_confinement() -> None:
    def broken(answer: str, **_: object) -> Run:
        return Run("error", "killed by signal 31", False, "", "", 0.0, 0.0, 0)

    assert escapes(broken) == ["a program at all (killed by signal 31; )"]


WITHOUT = """
import ctypes, json, os, struct, sys
from lightrft_rewards.sandbox import Sandbox, SandboxRefusal, kernel, seccomp

def deny(calls):
    "Have the kernel refuse these, as [number, first argument or None], to this process and all it starts."
    code = [(0x20, 0, 0, 0)]
    for number, first in calls:
        if first is None:
            code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x50001)]
        else:
            code += [(0x15, 0, 4, number), (0x20, 0, 0, 16), (0x15, 0, 1, first)]
            code += [(0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000)]
    packed = b"".join(struct.pack("HBBI", *each) for each in [*code, (0x06, 0, 0, 0x7FFF0000)])
    kernel.prctl(38, 1)
    kernel.prctl(22, 2, seccomp._Program(len(packed) // 8, packed))

calls, jailed = json.loads(sys.argv[1])
deny(calls)
try:
    with Sandbox(jailed=jailed) as sandbox:
        print(f"runs {sandbox.run('print(1)').stdout.strip()} {sandbox.means}", flush=True)
except SandboxRefusal as refusal:
    print(refusal)
"""
UNSHARE, LANDLOCK, SETRESUID, FILTER, CAPSET = [272, None], [444, None], [117, None], [157, 22], [126, None]


def told_without(calls: list[list[int | None]], jailed: bool | None = None) -> str:
    """What a sandbox says where the kernel refuses these calls."""
    if platform.machine() != "x86_64":
        pytest.skip("the numbers of the calls taken away here are those of x86-64")
    command = [sys.executable, "-c", WITHOUT, json.dumps([calls, jailed])]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout


def test_without_files_kept_from_programs_the_sandbox_refuses_and_says_why() -> None:
    told = told_without([UNSHARE, LANDLOCK])
    assert "namespaces cannot be had (Operation not permitted), and this kernel has no Landlock" in told


@pytest.mark.proof
def test_one_layer_for_files_is_enough() -> None:
    assert told_without([UNSHARE]).startswith("runs 1 {'jailed': False")
    assert told_without([LANDLOCK]).startswith("runs 1 {'jailed': True, 'landlock': 0")
    assert "namespaces cannot be had (Operation not permitted)" in told_without([UNSHARE], jailed=True)


@pytest.mark.proof
@pytest.mark.parametrize("call", [FILTER, SETRESUID, CAPSET], ids=["seccomp", "another user", "no capabilities"])
def test_without_one_of_the_steps_of_confinement_no_program_runs(call: list[int | None]) -> None:
    told = told_without([call])
    assert told.startswith("the sandbox could not confine a program: PermissionError"), told
