"""The worker processes: deadlines, deaths, what is printed, and that none of them outlives its purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from lightrft_rewards import Outcome, RewardPool, Sample, Scoring, parse_routes

WriteFunction = Callable[..., str]

OBEDIENT = """
import os, pathlib, re, subprocess, sys, time

here = pathlib.Path(__file__).parent

def one(response):
    if response == "hang":
        time.sleep(600)
    if response == "stuck":
        re.match("(a*)*b", "a" * 60)
    if response == "parent":
        child = subprocess.Popen(["sleep", "600"])
        (here / "child").write_text(f"{os.getpid()} {child.pid}")
        child.wait()
    if response == "die":
        os._exit(7)
    if response == "segfault":
        os.kill(os.getpid(), 11)
    if response == "fork and die":
        if os.fork() == 0:
            (here / "child").write_text(f"{os.getppid()} {os.getpid()}")
            time.sleep(600)
        while not (here / "child").exists():
            time.sleep(0.01)
        os._exit(7)
    if response == "raise":
        raise RuntimeError("no such luck")
    if response == "print":
        print("chatter" * 1000)
        sys.stdout.flush()
        os.write(1, b"more chatter")
        subprocess.run(["echo", "and more"], check=True)
    if response == "read":
        return float(len(sys.stdin.read()))
    if response == "pid":
        return float(os.getpid())
    return float(response)

def score(prompts, responses, labels):
    with open(here / "calls", "a") as calls:
        calls.write(",".join(responses) + "\\n")
    return [one(response) for response in responses]
"""


@pytest.fixture
def obedient(write_function: WriteFunction) -> Scoring:
    return Scoring(function=write_function(OBEDIENT))


def samples(*responses: str) -> list[Sample]:
    return [Sample(response, name=f"row, sample {number}") for number, response in enumerate(responses)]


def scores(outcomes: list[Outcome]) -> list[float | None]:
    return [outcome.score for outcome in outcomes]


@pytest.mark.parametrize("culprit", ["hang", "stuck"])
def test_a_sample_that_hangs_is_killed_at_its_deadline_and_the_others_are_scored(
    obedient: Scoring, culprit: str
) -> None:
    with RewardPool(obedient, timeout=2.0, num_workers=2) as pool:
        began = time.monotonic()
        first, second = pool.score([samples("1", culprit, "3"), samples("4", "5")])
        assert time.monotonic() - began < 50, "it would hang for longer"
        assert first == [
            Outcome(score=1.0, accuracy=1.0),
            Outcome(timed_out=True),
            Outcome(score=3.0, accuracy=1.0),
        ]
        assert scores(second) == [4.0, 5.0]
        assert scores(pool.score([samples("6")])[0]) == [6.0]


def test_rules_have_a_deadline_for_every_sample() -> None:
    bomb = Sample(r"\boxed{9^{9^{9^{9}}}-1}", "1", name="bomb")
    fine = [Sample(rf"\boxed{{{number}}}", number) for number in range(6)]
    with RewardPool(Scoring(routes=parse_routes("boxed")), timeout=2.0, num_workers=1) as pool:
        [outcomes] = pool.score([[*fine[:3], bomb, *fine[3:]]])
    assert scores(outcomes) == [1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0]
    assert outcomes[3].timed_out


def test_the_clock_does_not_run_while_samples_wait_for_a_worker(write_function: WriteFunction) -> None:
    target = write_function("""
        import time

        def score(prompts, responses, labels):
            time.sleep(0.5)
            return [1.0] * len(responses)
    """)
    with RewardPool(Scoring(function=target), timeout=2.0, num_workers=1) as pool:
        assert scores([outcome for [outcome] in pool.score([samples("1")] * 6)]) == [1.0] * 6


@pytest.mark.parametrize(
    ("culprit", "ending"),
    [
        ("die", "its worker process ended by itself (exit code 7)"),
        ("segfault", "its worker process was killed by signal 11"),
    ],
)
def test_a_worker_that_dies_is_an_error_of_the_sample_it_had(obedient: Scoring, culprit: str, ending: str) -> None:
    with RewardPool(obedient, num_workers=2) as pool:
        [outcomes] = pool.score([samples("1", culprit, "3")])
        assert scores(outcomes) == [1.0, None, 3.0]
        assert outcomes[1].error == f"{obedient.function} on row, sample 1: {ending}"
        assert scores(pool.score([samples("4")])[0]) == [4.0]


def test_a_worker_that_takes_the_place_of_another_gives_a_sign_when_it_is_ready(obedient: Scoring) -> None:
    signs = list[str]()
    with RewardPool(obedient, num_workers=1, judging=lambda: nullcontext(lambda: signs.append("got on"))) as pool:
        pool.score([samples("die", "1")])
    both_end, one_ends, ready, judged = 1, 1, 1, 1
    assert len(signs) == both_end + ready + one_ends + ready + judged


def test_a_dead_worker_is_noticed_even_if_a_child_of_it_lives_on(
    obedient: Scoring, tmp_path: Path, gone: Callable[[int], bool]
) -> None:
    with RewardPool(obedient, timeout=300, num_workers=1) as pool:
        began = time.monotonic()
        [[outcome]] = pool.score([samples("fork and die")])
        assert time.monotonic() - began < 50, "the child lives on for longer"
    assert outcome.error.endswith("(exit code 7)")
    assert gone(int((tmp_path / "child").read_text().split()[1]))


def test_an_exception_in_a_batch_is_the_culprits_alone(obedient: Scoring, tmp_path: Path) -> None:
    with RewardPool(obedient, num_workers=1) as pool:
        [outcomes] = pool.score([samples("1", "raise", "3")])
    assert scores(outcomes) == [1.0, None, 3.0]
    assert outcomes[1].error.startswith(f"{obedient.function} on row, sample 1: RuntimeError: no such luck (")
    assert (tmp_path / "calls").read_text().split() == ["1,raise,3", "1", "raise", "3"]


def test_a_wrong_length_is_retried_one_by_one(write_function: WriteFunction) -> None:
    target = write_function("""
        def score(prompts, responses, labels):
            return [float(r) for r in responses if r != "0"]
    """)
    with RewardPool(Scoring(function=target), num_workers=1) as pool:
        [outcomes] = pool.score([samples("1", "0", "3")])
    assert scores(outcomes) == [1.0, None, 3.0]
    assert outcomes[1].error.endswith("sample 1: it returned a result of length 0, not 1, for 1 sample")


def test_a_function_sees_each_call_whole_and_never_two_at_once(obedient: Scoring, tmp_path: Path) -> None:
    with RewardPool(obedient, num_workers=1) as pool:
        pool.score([samples("1", "2"), samples("3")])
    assert (tmp_path / "calls").read_text().split() == ["1,2", "3"]


def test_what_a_function_prints_or_reads_does_not_disturb_it(
    obedient: Scoring, capfd: pytest.CaptureFixture[str]
) -> None:
    with RewardPool(obedient, num_workers=1) as pool:
        assert pool.score([samples("print", "2")])[0][1].score == 2.0
        assert scores(pool.score([samples("read")])[0]) == [0.0]
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "chatterchatter" in printed.err
    assert "more chatterand more" in printed.err


def test_children_of_a_killed_worker_die_with_it(
    obedient: Scoring, tmp_path: Path, gone: Callable[[int], bool]
) -> None:
    with RewardPool(obedient, timeout=2.0, num_workers=1) as pool:
        assert pool.score([samples("parent")])[0][0].timed_out
        worker, child = map(int, (tmp_path / "child").read_text().split())
        assert gone(worker)
        assert gone(child)


def test_a_worker_lost_while_idle_is_replaced_without_blame(obedient: Scoring) -> None:
    with RewardPool(obedient, num_workers=1) as pool:
        [[first]] = pool.score([samples("pid")])
        assert first.score is not None
        os.kill(int(first.score), signal.SIGKILL)
        [[second]] = pool.score([samples("pid")])
        assert second.score not in (None, first.score)


def test_large_samples_pass_both_ways(write_function: WriteFunction) -> None:
    target = write_function("""
        def score(prompts, responses, labels):
            return {"rewards": [len(r) for r in responses], "extra_logs": {str(n): 1.0 for n in range(5000)}}
    """)
    with RewardPool(Scoring(function=target), num_workers=1) as pool:
        [outcomes] = pool.score([samples("\ud800" + "x" * 500_000, "\u00e9\n" * 200_000)])
    assert scores(outcomes) == [500_001.0, 400_000.0]


def test_a_label_that_is_no_json_is_an_error_of_its_sample(obedient: Scoring) -> None:
    with RewardPool(obedient, num_workers=1) as pool:
        [[bad, good]] = pool.score([[Sample("1", {1, 2}, name="row, sample 0"), Sample("2")]])
    assert bad.error.startswith("row, sample 0 cannot be sent to a reward worker: Object of type set")
    assert good.score == 2.0


def test_closing_twice_is_fine_and_leaves_no_process(obedient: Scoring, gone: Callable[[int], bool]) -> None:
    pool = RewardPool(obedient, num_workers=1)
    [[outcome]] = pool.score([samples("pid")])
    pool.close()
    pool.close()
    assert outcome.score is not None
    assert not Path(f"/proc/{int(outcome.score)}").exists()
    with pytest.raises(RuntimeError, match="closed"):
        pool.score([samples("1")])


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Whoever starts the tests in the background of a shell has it start them deaf to SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_pool_can_be_used_on_after_an_interrupt(obedient: Scoring, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not (tmp_path / "calls").exists():
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    with RewardPool(obedient, timeout=120, num_workers=1) as pool:
        with pytest.raises(KeyboardInterrupt):
            threading.Thread(target=interrupt).start()
            pool.score([samples("hang")])
        assert scores(pool.score([samples("2")])[0]) == [2.0]


@pytest.mark.parametrize("busy_with", ["hang", "stuck", "parent"])
def test_workers_and_their_children_end_when_their_parent_is_killed(
    obedient: Scoring, tmp_path: Path, gone: Callable[[int], bool], busy_with: str
) -> None:
    program = tmp_path / "trainer.py"
    program.write_text(
        textwrap.dedent(f"""
            from lightrft_rewards import RewardPool, Sample, Scoring
            print("main module runs", flush=True)
            pool = RewardPool(Scoring(function={obedient.function!r}), timeout=600, num_workers=2)
            print(*(worker.process.pid for worker in pool._workers), flush=True)
            pool.score([[Sample({busy_with!r})]])
        """)
    )
    parent = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "main module runs\n"
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    marker = tmp_path / ("child" if busy_with == "parent" else "calls")
    while not marker.exists():
        time.sleep(0.02)
    time.sleep(0.1)
    parent.kill()
    assert parent.communicate()[0] == ""
    assert all(gone(pid) for pid in workers)
    if busy_with == "parent":
        assert gone(int(marker.read_text().split()[1]))


@pytest.mark.parametrize(("timeout", "num_workers"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_numbers_out_of_range_are_refused(obedient: Scoring, timeout: float, num_workers: int) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        RewardPool(obedient, timeout=timeout, num_workers=num_workers)
