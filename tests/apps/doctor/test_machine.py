"""Doctor on a machine: what crashes or hangs when asked is an answer, pins are read from our own metadata."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import torch
from packaging.requirements import Requirement

from lightrft_apps.config.commands.doctor import DoctorArgs
from lightrft_apps.diagnosis import checkup, computer, devices, surroundings, versions, wire
from lightrft_apps.diagnosis.findings import Finding
from lightrft_apps.diagnosis.probe import Answer, ask
from lightrft_apps.diagnosis.versions import Wanted, fit
from lightrft_strategy.engines.server_process import free_port
from lightrft_strategy.training import ranks

GIB = 2**30
Command = Callable[..., Any]


def test_a_program_that_crashes_hangs_or_babbles_is_an_answer() -> None:
    assert ask("print('noise'); print('[1, 2]')", seconds=60) == Answer([1, 2])
    assert ask("import os; os.abort()", seconds=60).why.startswith(f"it was killed by {signal.SIGABRT.name}")
    assert ask("import no_such_module", seconds=60).why == "ModuleNotFoundError: No module named 'no_such_module'"
    assert ask("raise SystemExit(3)", seconds=60).why == "it ended with exit code 3"
    assert ask("print('hello')", seconds=60).why == "it said nothing that can be read"


def test_a_program_that_has_ended_is_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.setattr(os, "killpg", lambda *words: sent.append(words))
    assert ask("print(1)", seconds=60) == Answer(1) and sent == []


def test_what_a_hanging_program_has_started_is_ended_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    child = f"import os, time, pathlib; pathlib.Path({str(mark)!r}).write_text(str(os.getpid())); time.sleep(900)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    answer = ask(program, seconds=3)
    assert answer.late and answer.why == "it was not done in 3 s"
    started, deadline = int(mark.read_text()), time.monotonic() + 60
    while psutil.pid_exists(started) and psutil.Process(started).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("line", "extra", "level", "said"),
    [
        ("pytest>=1", "", "well", "asks for >=1"),
        ("pytest==0.1", "", "bad", "but lightrft-core asks for ==0.1"),
        ("pytest==0.1", "vllm", "note", "but lightrft-core[vllm] asks for ==0.1"),
        ("no-such-package>=2", "", "bad", "is not installed; lightrft-core asks for >=2"),
        ("no-such-package>=2", "vllm", None, ""),
    ],
    ids=str,
)
def test_what_is_installed_is_compared_with_what_our_packages_ask_for(
    line: str, extra: str, level: str | None, said: str
) -> None:
    found = fit(Wanted(Requirement(line), "lightrft-core", extra))
    assert (found and found.level) == level
    assert found is None or said in found.words


def test_the_pins_are_those_of_the_packages_metadata() -> None:
    asked = {(each.requirement.name, each.extra): str(each.requirement.specifier) for each in versions.wanted()}
    assert asked["vllm", "vllm"].startswith("==") and asked["sglang", "sglang"].startswith("==")
    assert ("torch", "") in asked and ("transformers", "") in asked
    found = {finding.subject: finding for finding in versions.versions()}
    assert found["torch"].level == found["transformers"].level == found["lightrft"].level == "well"


def test_a_container_s_bounds_count(tmp_path: Path) -> None:
    assert computer.allowed_memory(tmp_path) is computer.allowed_processors(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert computer.allowed_memory(tmp_path) is computer.allowed_processors(tmp_path) is None
    (tmp_path / "memory.max").write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{1 * GIB}\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    found = {finding.subject: finding for finding in computer.computer(tmp_path, tmp_path)}
    assert "3.0 allowed by the container" in found["memory"].words and "2.0 GiB free" in found["memory"].words
    assert found["memory"].level == "note" and "1.5 allowed by the container" in found["processors"].words


def test_devices_are_told_from_what_torch_says() -> None:
    said = {"kind": "xpu", "devices": [{"number": 0, "free": 70 * GIB, "total": 80 * GIB},
            {"number": 1, "free": 7 * GIB, "total": 80 * GIB}], "bfloat16": True, "fp8": False,
            "flash_attention_2": True, "flex_attention": True, "threads": 8}  # fmt: skip
    found = {finding.subject: finding for finding in devices.devices(Answer(said))}
    assert [found["xpu 0"].level, found["xpu 1"].level] == ["well", "note"]
    assert "flash_attention_2, flex_attention" in found["attention"].words
    (broken,) = devices.devices(Answer(None, "it was killed by SIGILL"))
    assert broken.level == "bad" and "SIGILL" in broken.words
    (late,) = devices.devices(Answer(None, "it was not done in 1 s", late=True))
    assert late.level == "note" and "--patience" in late.advice


def test_an_engine_whose_import_crashes_is_red_and_names_its_extra() -> None:
    found = devices.imported("vllm", ask(devices.IMPORT, "no_such_engine", seconds=60))
    assert found.level == "bad" and "No module named 'no_such_engine'" in found.words
    assert found.advice == "uv sync --extra vllm"
    assert devices.imported("json", ask(devices.IMPORT, "json", seconds=60)).level == "well"


def test_a_hub_that_is_out_of_reach_or_switched_off_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(surroundings.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(surroundings.constants, "HF_HUB_OFFLINE", False)

    def client(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(answer))

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    assert [found.level for found in surroundings.hub(client(lambda request: httpx.Response(200)))][1] == "well"
    *_, unreachable = surroundings.hub(client(refuse))
    assert unreachable.level == "note" and "cannot be reached (ConnectError)" in unreachable.words
    monkeypatch.setattr(surroundings.constants, "HF_HUB_OFFLINE", True)
    *_, offline = surroundings.hub(client(refuse))
    assert "HF_HUB_OFFLINE is set" in offline.words


@pytest.mark.parametrize(
    ("seconds", "rate", "right", "level"),
    [(1e-4, 1e9, True, "well"), (0.1, 1e9, True, "note"), (1e-4, 1e6, True, "note"), (1e-4, 1e9, False, "bad")],
)
def test_a_network_that_is_slow_or_wrong_is_told(seconds: float, rate: float, right: bool, level: str) -> None:
    (found,) = wire.findings(wire.Measured(2, seconds, rate, right, ["a", "b"], "gloo"))
    assert found.level == level and "2 processes on a, b" in found.words


def test_the_second_process_of_a_machine_with_one_accelerator_talks_by_its_processor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    for module in (wire, ranks):
        monkeypatch.setattr(module, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(wire, "LARGE", 8)
    launched = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**launched, "MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo"}.items():
        monkeypatch.setenv(name, value)
    wire.main()
    said = wire.Measured(**json.loads(capsys.readouterr().out))
    assert (said.world_size, said.right, said.backend) == (1, True, "gloo (cpu)")


def test_what_is_red_is_named_first_and_ends_the_command_with_1(
    lightrft: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "ask", lambda *words, **more: Answer(None, "it was killed by SIGSEGV"))
    monkeypatch.setattr(checkup.surroundings, "hub", lambda: [Finding("model hub", "well", "answers")])
    ended = lightrft("doctor", "--ranks", "0", "--json")
    said = json.loads(ended.out)
    assert ended.code == 1 and said["verdict"][0]["words"].startswith("this machine cannot do everything: torch")
    assert {"Computer", "Versions", "Devices", "Surroundings"} <= said["sections"].keys()


@pytest.mark.proof
def test_the_whole_machine_is_looked_over_and_its_processes_talk() -> None:
    found = checkup.examine_machine(DoctorArgs(patience=300))
    assert found is not None
    network = [one for one in found.sections["Surroundings"] if one.subject == "network"]
    assert len(network) == 1 and "2 processes on" in network[0].words and network[0].level != "bad"
    assert "Engines and other optional packages" in found.sections
