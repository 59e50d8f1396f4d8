"""`lightrft serve-reward`: from flags to a service that judges, and what cannot be served is told beforehand."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lightrft_apps.config import ConfigError
from lightrft_apps.config.commands.serve_reward import parse_serve, token_of
from lightrft_apps.rewards.serving import serve
from lightrft_rewards import RewardSetupError


@contextmanager
def serving(log: Path, *flags: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The command on a free port, or this one, once it is ready, and its URL."""
    command = [sys.executable, "-m", "lightrft_apps", "serve-reward", "--port", str(port), *flags]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file)
        try:
            patience, url = time.monotonic() + 300, ""
            while not url or httpx.get(f"{url}/health", trust_env=False, timeout=60).status_code != 200:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < patience, log.read_text()
                found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", log.read_text())
                url = found[1] if found else ""
                time.sleep(0.05)
            yield process, url
        finally:
            process.kill()
            process.wait(120)


def test_a_service_of_rules_and_routes_judges_and_ends_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    flags = ["--rule_reward", "number:1.0,format:0.5", "--reward_routes", '{"boxed": "boxed"}', "--reward_workers", "1"]
    flags += ["--max_queue", "3", "--api_key_file", str(key)]
    samples = [
        {"id": "right", "response": "<think>2+2</think><answer>4</answer>", "label": "4"},
        {"id": "wrong", "response": "5", "label": "4"},
        {"id": "unlabelled", "response": "\\boxed{4}", "route": "boxed"},
    ]
    with serving(tmp_path / "log", *flags) as (process, url):
        client = httpx.Client(headers={"authorization": "Bearer s3cret"}, trust_env=False, timeout=60)
        answer = client.post(f"{url}/v1/score", json={"version": 1, "samples": samples})
        found = {result["id"]: result for result in answer.json()["results"]}
        assert found["right"]["score"] == 1.5
        assert found["right"]["parts"] == {"number": 1.0, "format": 1.0}
        assert (found["wrong"]["status"], found["wrong"]["score"]) == ("ok", 0.0)
        assert (found["unlabelled"]["status"], found["unlabelled"]["score"]) == ("error", None)
        more = [sample | {"id": str(i)} for i, sample in enumerate(samples * 2)]
        assert client.post(f"{url}/v1/score", json={"version": 1, "samples": more}).status_code == 413
        assert httpx.post(f"{url}/v1/score", trust_env=False, timeout=60).status_code == 401
        modules = Path(f"/proc/{process.pid}/maps").read_text()
        assert "libtorch" not in modules
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    said = (tmp_path / "log").read_text()
    assert [line.split(" ", 2)[2].split(" http")[0] for line in said.splitlines()] == [
        "listening on",
        "ending: 0 requests are still being answered",
        "ended",
    ]


def test_a_function_that_does_not_load_ends_the_service_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text("def score(prompts):\n    return 1 +\n")
    command = parse_serve(["--reward_fn", f"{tmp_path}/reward.py:score", "--port", "0", "--reward_workers", "1"])
    with pytest.raises(RewardSetupError, match=r"SyntaxError.*reward\.py:2"):
        serve(command)


def test_without_fastapi_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lightrft_rewards.service.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ConfigError, match=r"pip install 'lightrft-rewards\[service\]'"):
        serve(parse_serve(["--rule_reward", "number", "--port", "0"]))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "nothing judges the answers"),
        (["--rule_reward", "nubmer"], "--rule_reward nubmer"),
        (["--rule_reward", "number", "--port", "70000"], "--port 70000: set it to a port"),
        (["--rule_reward", "number", "--max_batch", "0"], "--max_batch 0: set it to 1 or more"),
        (["--rule_reward", "number", "--max_wait_ms", "-1"], "--max_wait_ms -1.0: set it to 0 or more"),
        (["--rule_reward", "number", "--sample_deadline", "0"], "--sample_deadline 0.0: set it to a number above 0"),
        (["--rule_reward", "number", "--max_held_mb", "1"], "--max_held_mb 1 is less than --max_request_mb 64"),
        (["--rule_reward", "number", "--api_key_env", "NO_SUCH_KEY"], "--api_key_env NO_SUCH_KEY: there is no such"),
        (["--rule_reward", "number", "--api_key_file", "no_such"], "--api_key_file no_such: there is no such file"),
        (["--rule_reward", "number", "--api_key_file", "a", "--api_key_env", "B"], "both name a token"),
        (["--rule_reward", "number", "--max_reward_error_share", "0.1"], "max_reward_error_share"),
        (["--reward_pretrain", "./nowhere"], "--reward_pretrain ./nowhere"),
    ],
)
def test_what_cannot_be_served_is_told_by_its_flag(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_serve(flags)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_every_flag_of_the_service_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Server:
        def __init__(self, build: Callable[[], Any], **settings: Any) -> None:
            given.update(settings)

        def run(self) -> None:
            given["ran"] = True

    monkeypatch.setattr("lightrft_rewards.service.server.RewardServer", Server)
    monkeypatch.setenv("REWARD_KEY", " s3cret\n")
    numbers = {"max_batch": 7, "max_wait_ms": 8, "max_queue": 9, "max_request_mb": 3, "max_held_mb": 4}
    flags = {"host": "0.0.0.0", "port": 5, "api_key_env": "REWARD_KEY", "sample_deadline": 6, "drain_seconds": 2}
    words = [word for flag, value in (numbers | flags).items() for word in (f"--{flag}", str(value))]
    serve(parse_serve(["--rule_reward", "number", *words]))
    limits = given.pop("limits")
    assert given == {"host": "0.0.0.0", "port": 5, "key": "s3cret", "drain_seconds": 2.0, "ran": True}
    assert (limits.max_batch, limits.max_wait, limits.max_queue, limits.deadline) == (7, 0.008, 9, 6.0)
    assert (limits.max_request_bytes, limits.max_held_bytes) == (3 * 2**20, 4 * 2**20)


def test_a_token_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("from a file\n")
    assert token_of(parse_serve(["--rule_reward", "number"]).service) is None
    assert (
        token_of(parse_serve(["--rule_reward", "number", "--api_key_file", f"{tmp_path}/key"]).service) == "from a file"
    )


REWARD = """
import time


def score(prompts, responses, labels):
    time.sleep(0.1)
    return [sum(letter in "02468" for letter in response) / max(1, len(response)) for response in responses]
"""


@pytest.mark.proof
@pytest.mark.parametrize("moment", [0.0, 0.1, 0.2, 0.3])
@pytest.mark.usefixtures("one_thread")
def test_a_run_whose_service_is_killed_and_started_again_ends_with_the_same_bits(
    flags: dict[str, Any], tmp_path: Path, moment: float
) -> None:
    from lightrft_apps import RLConfig, train

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (tmp_path / "slow.py").write_text(REWARD)
    given = ["--reward_fn", f"{tmp_path}/slow.py:score", "--reward_workers", "1"]
    own = {name: value for name, value in flags.items() if name not in ("reward_fn", "output_dir")}
    own |= {"remote_rm_url": f"http://127.0.0.1:{port}", "num_episodes": 3}

    def metrics(name: str) -> list[dict[str, Any]]:
        file = tmp_path / name / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    with serving(tmp_path / "first", *given, port=port):
        train(RLConfig.create(**own, output_dir=tmp_path / "whole"))

    with serving(tmp_path / "second", *given, port=port) as (process, _):

        def strike() -> None:
            while len(metrics("struck")) < 3:
                time.sleep(0.01)
            time.sleep(moment)
            process.kill()
            process.wait(120)

        striker = threading.Thread(target=strike)
        striker.start()
        runner = threading.Thread(target=lambda: train(RLConfig.create(**own, output_dir=tmp_path / "struck")))
        runner.start()
        striker.join(120)
        with serving(tmp_path / "third", *given, port=port):
            runner.join(120)
    assert not runner.is_alive()
    whole, struck = metrics("whole"), metrics("struck")
    assert len(whole) == len(struck) > 4
    for one, other in zip(whole, struck, strict=True):
        decided = {name for name in one if not name.startswith(("time/", "memory/")) and "second" not in name}
        assert "reward/mean" in decided
        assert {name: one[name] for name in decided} == {name: other[name] for name in decided}
        assert one.get("reward/error_share", 0) == one.get("reward/timeout_share", 0) == 0
    weights = [(tmp_path / name / "final" / "model.safetensors").read_bytes() for name in ("whole", "struck")]
    assert weights[0] == weights[1]
