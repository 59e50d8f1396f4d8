"""Services that are killed, started again and mistreated, beside loops that go on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.service.client import RemoteScorer

from .conftest import WriteFunction

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REWARD = """
    import time

    def score(prompts, responses, labels):
        time.sleep(0.02)
        return [len(response) / 10 for response in responses]
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Service:
    """A reward service as a process that is killed and started again."""

    def __init__(self, target: str) -> None:
        self.port, self.target = free_port(), target
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, str(HERE / "reward_server.py"), str(self.port), self.target]
        self.process = subprocess.Popen(command)
        self.starts += 1

    def kill(self, by: int = signal.SIGKILL) -> int:
        assert self.process is not None
        os.kill(self.process.pid, by)
        return self.process.wait(120)


@contextmanager
def service(target: str) -> Iterator[Service]:
    """A service that has been started; it is gone afterwards."""
    made = Service(target)
    made.start()
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.kill()


def train(client: RemoteScorer, steps: int, judged: Callable[[int], None]) -> list[list[list[Outcome]]]:
    """What a run asks of its judge: the groups of each step, one step after the other. judged: told of each step."""
    found = []
    for step in range(steps):
        groups = [
            [Sample("x" * (step + group + answer), prompt=f"{step} {group}") for answer in range(4)]
            for group in range(12)
        ]
        found.append(client.score(groups))
        judged(step)
    return found


def expected(steps: int) -> list[list[list[float]]]:
    return [[[(step + group + answer) / 10 for answer in range(4)] for group in range(12)] for step in range(steps)]


def scores(found: list[list[list[Outcome]]]) -> list[list[list[float | None]]]:
    return [[[outcome.score for outcome in group] for group in groups] for groups in found]


def test_a_run_whose_service_is_killed_and_started_again_notices_nothing_but_the_wait(
    write_function: WriteFunction,
) -> None:
    with service(write_function(REWARD)) as server:
        client = RemoteScorer([server.url], chunk_size=4, connections=4, timeout=120.0)
        print_of = client.fingerprint()

        def strike() -> None:
            time.sleep(0.05)
            server.kill()
            server.start()

        striker = threading.Thread(target=strike)
        found = train(client, 4, lambda step: striker.start() if step == 0 else None)
        striker.join(120)
        again = RemoteScorer([server.url])
        assert again.fingerprint() == print_of
        client.close(), again.close()
        assert server.starts == 2
        assert server.kill(signal.SIGTERM) == 0
    assert scores(found) == expected(4)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(5))
def test_a_service_killed_again_and_again_at_random_moments_costs_nothing(
    write_function: WriteFunction, seed: int
) -> None:
    from random import Random

    random, over = Random(seed), threading.Event()
    with service(write_function(REWARD)) as server:
        client = RemoteScorer([server.url], chunk_size=4, connections=4, timeout=20.0)
        client.fingerprint()

        def strikes() -> None:
            while not over.wait(random.uniform(0.1, 2.0)):
                server.kill()
                time.sleep(random.uniform(0.0, 1.0))
                server.start()
                RemoteScorer([server.url]).fingerprint()

        striker = threading.Thread(target=strikes)
        striker.start()
        try:
            found = train(client, 60, lambda step: None)
        finally:
            over.set()
            striker.join(60)
        client.close()
        assert server.starts > 4
    assert scores(found) == expected(60)


@pytest.mark.proof
def test_one_of_two_services_can_be_missing_at_any_time(write_function: WriteFunction) -> None:
    target = write_function(REWARD)
    with service(target) as first, service(target) as second:
        client = RemoteScorer([first.url, second.url], chunk_size=4, connections=2, timeout=5.0, patience=5.0)
        client.fingerprint()
        changes = {5: first.kill, 15: first.start, 60: second.kill, 75: second.start}

        def judged(step: int) -> None:
            if step in changes:
                changes[step]()

        assert scores(train(client, 100, judged)) == expected(100)
        client.close()


@pytest.mark.proof
def test_ten_thousand_requests_of_sixty_four_clients_to_a_reward_that_is_slow_fails_and_crashes(
    tmp_path: Path,
) -> None:
    out = tmp_path / "load.json"
    command = [sys.executable, str(ROOT / "benchmarks/reward_service.py"), "load", "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert ended.returncode == 0, ended.stderr[-3000:]
    load = json.loads(out.read_text())["load"]
    assert (load["clients"], load["requests"]) == (64, 10_000)
    assert load["http_answers"] == {"200": 10_000}
    assert load["samples_with_one_status_and_the_planned_one"] == load["samples"]
    assert all(load["by_plan"][plan] > 0 for plan in ("well", "slow", "fails", "nonsense", "crashes", "hangs"))
    memory = load["server_megabytes"]
    half = len(memory) // 2
    assert max(memory[half:]) < max(memory[: half // 2]) * 1.05 + 5


@pytest.mark.proof
def test_a_service_that_is_told_to_end_waits_for_what_it_has(write_function: WriteFunction) -> None:
    slow = write_function("import time\ndef score(prompts, responses, labels):\n    time.sleep(0.4)\n    return [1.0]")
    with service(slow) as server:
        client = RemoteScorer([server.url], timeout=10.0, patience=3.0)
        client.fingerprint()
        found: list[list[list[Outcome]]] = []
        judging = threading.Thread(target=lambda: found.append(client.score([[Sample("a")]])))
        judging.start()
        time.sleep(0.15)
        assert server.kill(signal.SIGTERM) == 0
        judging.join(10)
        client.close()
    assert found[0][0][0].score == 1.0
