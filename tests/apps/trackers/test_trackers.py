"""What trackers hold of a run is its metrics.jsonl; nothing is sent, nothing secret is kept, nothing stops the run."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from lightrft_apps import RLConfig, SFTConfig, train, tune
from lightrft_apps.config import ConfigError, check
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.recorder import RunRecorder
from lightrft_apps.recording.trackers import open_trackers
from lightrft_apps.recording.trackers.tracker import Tracked

from .reading import READERS, Series

ALL: dict[str, Any] = {f"use_{name}": True for name in READERS}

KEYS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "SWANLAB_API_KEY": "swanlab-key-that-nobody-may-see",
    "HF_TOKEN": "hf_tokenthatnobodymaysee",
    "TRACKIO_WRITE_TOKEN": "trackio-token-that-nobody-may-see",
}

OUTWARD = """
import json, socket, sys
from pathlib import Path

own, attempts = socket.socket.connect, Path(__file__).with_name("attempts.txt")

def connect(self, address):
    if self.family != socket.AF_UNIX and not str(address[0]).startswith(("127.", "::1", "localhost")):
        with attempts.open("a") as file:
            file.write(f"{sys.argv} {address}\\n")
        raise OSError(f"{address} is not on this machine")
    return own(self, address)

socket.socket.connect = connect
Path(__file__).with_name(f"guarded_{sys.argv[-1]}").touch()
"""


def lines(run: Path) -> Series:
    """metrics.jsonl, by step."""
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line.pop("step"): line for line in read}


def assert_holds(run: Path, tracker: str) -> None:
    series, _ = READERS[tracker](run)
    expected = lines(run)
    if tracker == "tensorboard":
        expected = {step: {name: float(np.float32(x)) for name, x in line.items()} for step, line in expected.items()}
    assert series == expected


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Keys, proxies and servers for everything that would send: outside() -> what has been tried."""
    asked: list[str] = []

    class Bait(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            asked.append(self.rfile.readline().decode(errors="replace"))
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bait)
    Thread(target=server.serve_forever, daemon=True).start()
    guard, url = tmp_path / "guard", f"http://127.0.0.1:{server.server_port}"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(OUTWARD)
    monkeypatch.setenv("PYTHONPATH", str(guard))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, url)
    for name in ("WANDB_BASE_URL", "SWANLAB_API_HOST", "SWANLAB_WEBHOOK", "TRACKIO_SERVER_URL", "TRACKIO_WEBHOOK_URL"):
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)

    def tried() -> list[str]:
        file = guard / "attempts.txt"
        return asked + (file.read_text().splitlines() if file.exists() else [])

    yield tried
    assert {path.name.removeprefix("guarded_") for path in guard.glob("guarded_*")} >= {*READERS}
    server.shutdown()
    server.server_close()


def leave_behind(run: Path, identity: str) -> list[Path]:
    """What each tracker might have written before the run was stopped."""
    stale = [
        run / "wandb" / f"offline-run-20200101_000000-{identity}" / f"run-{identity}.wandb",
        run / "swanlab" / f"run-20200101_000000-{identity}" / f"run-{identity}.swanlab",
        run / "tensorboard" / f"events.out.tfevents.1.here.{identity}",
        run / "trackio" / "lightrft.db",
    ]
    for path in stale:
        path.parent.mkdir(parents=True)
        path.write_text("steps that are done once more")
    return stale[:3]


def test_trackers_of_a_resumed_run_hold_its_metrics_and_send_and_reveal_nothing(
    flags: dict[str, Any],
    tmp_path: Path,
    outside: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    steps = {"num_episodes": 2, "save_steps": 2, "eval_dataset": flags["prompt_data"], "eval_steps": 2}
    own, secret = RunRecorder.record, KEYS["SWANLAB_API_KEY"]

    def stopped(recorder: RunRecorder, step: int, *rest: Any) -> None:
        own(recorder, step, *rest)
        if step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunRecorder, "record", stopped)
        train(RLConfig.create(**flags, **steps))
    before = lines(run)
    assert max(before) == 3
    (run / "trackers.json").write_text('{"id": "abcd1234"}\n')
    stale = leave_behind(run, "abcd1234")

    train(RLConfig.create(**flags, **steps, **ALL, tracker_run_name="mine", tracker_group=f"of {secret}"))
    after = lines(run)
    assert {*after} == {0, 1, 2, 3, 4} and after[2] == before[2] and after[3]["time/step"] != before[3]["time/step"]
    assert {"eval/accuracy", "reward/mean"} <= after[2].keys()
    for tracker, read in READERS.items():
        assert_holds(run, tracker)
        config = read(run)[1]
        assert config["generate_max_len"] in (6, "6") and config["tracker_group"] == "of (hidden)", tracker
    assert not any(path.exists() for path in stale)
    assert "has stopped" not in capfd.readouterr().err
    assert outside() == []
    kept = [path for path in run.rglob("*") if path.is_file() and path.name != "config.yaml"]
    assert [path for path in kept for key in KEYS.values() if key.encode() in path.read_bytes()] == []


def killed_while_tracking(folder: Path, config: RLConfig, count: int) -> None:
    """Fork a process that writes so many lines of metrics, and is killed as soon as the trackers have begun."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    try:
        run = RunDirectory(folder)
        with open_trackers(config, run, print), run.metrics.open("w") as file:
            for step in range(count):
                file.write(json.dumps({"step": step, "reward/mean": step / 7}) + "\n")
                file.flush()
            file.write('{"step": 77, "torn')
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(1)


def wait_until(true: Callable[[], bool], seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def held(run: Path, tracker: str) -> int:
    """How many steps a tracker's files have so far."""
    try:
        return len(READERS[tracker](run)[0])
    except (OSError, ValueError, sqlite3.Error):
        return 0


@pytest.mark.parametrize(
    "tracker",
    ["tensorboard", *(pytest.param(name, marks=pytest.mark.proof) for name in READERS if name != "tensorboard")],
)
def test_a_tracker_writes_to_the_end_when_its_run_is_killed_and_once_more_when_it_goes_on(
    tracker: str, flags: dict[str, Any], tmp_path: Path
) -> None:
    config, run = RLConfig.create(**flags, **{f"use_{tracker}": True}), tmp_path / "run"
    run.mkdir()
    killed_while_tracking(run, config, 5)
    wait_until(lambda: held(run, tracker) == 5)
    assert READERS[tracker](run)[0] == {step: {"reward/mean": pytest.approx(step / 7)} for step in range(5)}

    opened = RunDirectory(run)
    opened.metrics.write_text("".join(json.dumps({"step": step, "reward/mean": -1.0}) + "\n" for step in range(3)))
    with open_trackers(config, opened, pytest.fail), opened.metrics.open("a") as file:
        file.write(json.dumps({"step": 3, "reward/mean": -1.0}) + "\n")
    assert READERS[tracker](run)[0] == {step: {"reward/mean": -1.0} for step in range(4)}


def test_a_tracker_that_fails_is_told_of_once_and_another_can_be_had_when_all_is_done(
    flags: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "run").write_text("a file where the tracker's folder should be")
    shared = {"use_tensorboard": True, "tensorboard_dir": str(tmp_path / "shared")}
    rows = {"dataset": flags["prompt_data"], "output_key": "label", "train_batch_size": 4}
    places = {name: flags[name] for name in ("pretrain", "output_dir")}
    assert tune(SFTConfig.create(**places, **rows, **shared))["steps"] == 2
    (told,) = [line for line in capfd.readouterr().err.splitlines() if "has stopped" in line]
    assert told.startswith("warning: tensorboard has stopped: FileExistsError")
    assert told.endswith("metrics.jsonl has every number")

    tune(SFTConfig.create(**places, **rows, use_trackio=True))
    assert "is finished: its numbers go to trackio" in capfd.readouterr().err
    assert_holds(tmp_path / "run", "trackio")


def test_runs_of_one_name_have_a_folder_each_in_one_that_they_share(tmp_path: Path) -> None:
    from lightrft_apps.recording.trackers.tensorboard import TensorBoard

    shared, place = tmp_path / "shared", str(tmp_path)
    for identity, told in (("a", -1.0), ("b", 1.0), ("a", -2.0), ("b", 2.0)):
        run = Tracked(place, "", "", "", identity, "run", "p", None, None, "rl", {}, str(shared), online=False)
        tracker = TensorBoard(run)
        tracker.write(1, {"reward/mean": told})
        tracker.finish(True)
    assert {path.name for path in shared.iterdir()} == {"run", "run-b"}
    for name, told in (("run", -2.0), ("run-b", 2.0)):
        (tmp_path / "tensorboard").unlink(missing_ok=True)
        (tmp_path / "tensorboard").symlink_to(shared / name)
        assert READERS["tensorboard"](tmp_path)[0] == {1: {"reward/mean": told}}


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "."])
def test_a_name_that_would_leave_the_shared_folder_is_refused(name: str, flags: dict[str, Any], tmp_path: Path) -> None:
    shared = {"use_tensorboard": True, "tensorboard_dir": str(tmp_path / "shared")}
    (problem,) = check(RLConfig.create(**flags, **shared, tracker_run_name=name))
    assert problem.startswith(f"--tracker_run_name {name}: --tensorboard_dir gives")
    assert check(RLConfig.create(**flags, **shared, tracker_run_name="x..y")) == []


def test_a_tracker_that_is_not_installed_is_refused_with_its_extra(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightrft_apps.config.checks.tracking.find_spec", lambda name: None)
    assert check(RLConfig.create(**flags, **ALL)) == [
        f"--use_{name}: the package {module} is not installed: uv pip install 'lightrft-apps[{name}]'"
        for name, module in [
            ("wandb", "wandb"),
            ("tensorboard", "tensorboardX"),
            ("swanlab", "swanlab"),
            ("trackio", "trackio"),
        ]
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tracker_group": "g"}, "--tracker_group has no effect: set --use_wandb, --use_swanlab or --use_trackio"),
        ({"tracker_online": True, "use_tensorboard": True}, "--tracker_online has no effect: set --use_wandb"),
        ({"tracker_org": "o", "use_wandb": True}, "--tracker_org has no effect: set --tracker_online"),
        ({"tensorboard_dir": "shared"}, "--tensorboard_dir has no effect: set --use_tensorboard"),
        ({"wandb_project": "a b", "use_wandb": True}, "--tracker_project a b: set it to at most 100 letters"),
        ({"tracker_run_name": "", "use_wandb": True}, "--tracker_run_name names nothing"),
    ],
)
def test_what_is_said_of_trackers_must_have_an_effect(flags: dict[str, Any], given: dict[str, Any], told: str) -> None:
    (problem,) = check(RLConfig.create(**flags, **given))
    assert problem.startswith(told)


@pytest.mark.parametrize("flag", ["use_wandb", "use_tensorboard"])
def test_a_key_or_folder_behind_a_flag_is_refused_and_not_repeated(
    flag: str, flags: dict[str, Any], lightrft: Callable[..., Any]
) -> None:
    ended = lightrft("rl", **flags, **{flag: "abcdef0123"})
    assert ended.code == 2 and f"--{flag} stands alone" in ended.err
    assert "abcdef0123" not in ended.err + ended.out
    with pytest.raises(ConfigError, match=f"--{flag} stands alone"):
        RLConfig.create(**flags, **{flag: "abcdef0123"})
