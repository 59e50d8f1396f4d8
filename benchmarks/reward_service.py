"""What a reward service does under load, and what it costs beside judging in the run itself.

    uv run python benchmarks/reward_service.py load
    uv run python benchmarks/reward_service.py throughput --rounds 7

each writes its part of docs/benchmarks/reward_service.json.

load: 64 clients at once send 10,000 requests over loopback to `lightrft serve-reward --reward_fn` with a function that
is slow, raises, returns NaN, kills its own process or hangs, as each answer's text says. Every sample must come back
once, with the status that its text plans; the server's memory is noted every 250 requests.

throughput: a small reward model judges the same samples in this process and behind `lightrft serve-reward` on the same
cores, 32 samples a batch and a request, in turns.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from lightrft_rewards.samples import Sample
from lightrft_rewards.service.client import RemoteScorer

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
"""As the command does, before torch is there, so that both sides of a comparison wait for each other alike."""

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "reward_service.json"
REWARD = """
import os
import random
import signal
import time


def score(prompts, responses, labels):
    rewards = []
    for response in responses:
        plan = response.split()[0]
        if plan == "slow":
            time.sleep(random.uniform(0.005, 0.05))
        elif plan == "fails":
            raise ValueError("planned")
        elif plan == "crashes":
            os.kill(os.getpid(), signal.SIGKILL)
        elif plan == "hangs":
            time.sleep(60)
        rewards.append(float("nan") if plan == "nonsense" else float(len(response)))
    return rewards
"""
PLANS = {"well": 0.9185, "slow": 0.06, "fails": 0.01, "nonsense": 0.01, "crashes": 0.001, "hangs": 0.0005}
STATUS = {"well": "ok", "slow": "ok", "fails": "error", "nonsense": "error", "crashes": "error", "hangs": "timeout"}


@contextmanager
def service(*flags: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`lightrft serve-reward` on a free port, once it is ready; and that port."""
    command = [sys.executable, "-m", "lightrft_apps", "serve-reward", "--port", "0", *flags]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log, text=True)
        try:
            deadline, port = time.monotonic() + 120, None
            while port is None:
                log.seek(0)
                found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", said := log.read())
                port = int(found[1]) if found else None
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the service did not start: {said}")
                time.sleep(0.05)
            client = RemoteScorer([f"http://127.0.0.1:{port}"])
            client.fingerprint()
            client.close()
            yield process, port
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def megabytes(pid: int) -> float:
    """The resident memory of a process."""
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes) / 1024


def processor_seconds(pid: int) -> float:
    """What this process and that one have used of all cores, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(requests: int, clients: int) -> dict[str, Any]:
    """What becomes of every sample of so many requests of so many clients at once."""
    random = Random(0)
    plans = random.choices(list(PLANS), list(PLANS.values()), k=4 * requests)
    bodies: list[list[str]] = []
    used = 0
    for number in range(requests):
        count = random.randint(1, 4)
        bodies.append([f"{plan} {number}-{place}" for place, plan in enumerate(plans[used : used + count])])
        used += count
    http_answers, right, wrong = Counter[str](), Counter[str](), list[str]()
    seconds, memory, lock, waiting = list[float](), list[float](), threading.Lock(), iter(range(requests))

    def work(port: int, pid: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            with lock:
                number = next(waiting, None)
                if number is not None and number % 250 == 0:
                    memory.append(megabytes(pid))
            if number is None:
                return
            samples = [{"id": text, "prompt": str(number), "response": text} for text in bodies[number]]
            body = json.dumps({"version": 1, "request_id": str(number), "samples": samples})
            began = time.monotonic()
            connection.request("POST", "/v1/score", body)
            answer = connection.getresponse()
            content, took = json.loads(answer.read()), time.monotonic() - began
            results = content.get("results", [])
            with lock:
                http_answers[str(answer.status)] += 1
                seconds.append(took)
                if [result["id"] for result in results] != bodies[number]:
                    wrong.append(f"request {number}: {content}")
                    continue
                for text, result in zip(bodies[number], results, strict=True):
                    plan = text.split()[0]
                    score = float(len(text)) if STATUS[plan] == "ok" else None
                    if (result["status"], result["score"]) == (STATUS[plan], score):
                        right[plan] += 1
                    else:
                        wrong.append(f"{text}: {result}")

    with tempfile.TemporaryDirectory() as folder:
        reward = Path(folder) / "reward.py"
        reward.write_text(REWARD)
        flags = ("--reward_fn", f"{reward}:score", "--reward_timeout", "0.5", "--reward_workers", "2")
        with service(*flags) as (process, port):
            began = time.monotonic()
            threads = [threading.Thread(target=work, args=(port, process.pid)) for _ in range(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            took = time.monotonic() - began
            memory.append(megabytes(process.pid))
    ranked = sorted(seconds)
    return {
        "what": "a reward that is slow, fails, crashes and hangs as planned by each answer's text",
        "clients": clients,
        "requests": requests,
        "samples": used,
        "http_answers": dict(http_answers),
        "samples_with_one_status_and_the_planned_one": sum(right.values()),
        "by_plan": {plan: right[plan] for plan in PLANS},
        "otherwise": wrong[:20],
        "seconds": round(took, 1),
        "request_seconds": {
            "median": round(statistics.median(ranked), 3),
            "99%": round(ranked[int(0.99 * len(ranked))], 3),
            "longest": round(ranked[-1], 3),
        },
        "server_megabytes": [round(value, 1) for value in memory],
    }


def small_reward_model(folder: Path) -> None:
    """A folder with a reward model of under a million weights, which were never trained."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from lightrft_multimodal.tiny.texts import chat_template, learnt_tokenizer
    from lightrft_rewards.models.card import RewardCard
    from lightrft_rewards.models.loading import save_reward_model
    from lightrft_rewards.models.reward_model import RewardModel

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=300,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=None,
    )
    tokenizer = learnt_tokenizer(("What is 2 + 2? It is four, I think.",), 300, {})
    tokenizer.chat_template = chat_template({})
    model = RewardModel(AutoModelForCausalLM.from_config(config)).eval()
    save_reward_model(model, tokenizer, folder, RewardCard(max_len=1024))


def groups_of_samples(requests: int, size: int) -> list[list[Sample]]:
    """Prompts with so many answers of 20 to 200 letters each."""
    random = Random(0)
    words = ["it", "is", "four", "because", "two", "and", "two", "make", "four", "and", "nothing", "else", "does"]
    return [
        [
            Sample(" ".join(random.choices(words, k=random.randint(5, 50))), prompt=f"What is {number} + {number}?")
            for _ in range(size)
        ]
        for number in range(requests)
    ]


def ratios(ones: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Of each round: the median, and how far they lie apart."""
    each = [one / other for one, other in zip(ones, others, strict=True)]
    return {
        "median": round(statistics.median(each), 3),
        "lowest": round(min(each), 3),
        "highest": round(max(each), 3),
    }


def throughput(rounds: int, requests: int, size: int) -> dict[str, Any]:
    """Samples a second of a reward model alone and behind the service, in turns."""
    import torch

    from lightrft_rewards.models.scoring import ModelScorer

    groups = groups_of_samples(requests, size)
    with tempfile.TemporaryDirectory() as folder:
        small_reward_model(Path(folder))
        alone = ModelScorer.load(folder, token_budget=16384)
        weights = sum(parameter.numel() for parameter in alone.module.parameters())
        with service("--reward_pretrain", folder, "--max_batch", str(size)) as (process, port):
            remote = RemoteScorer([f"http://127.0.0.1:{port}"], chunk_size=size, connections=4)

            def by_model() -> list[float | None]:
                return [outcome.score for group in groups for outcome in alone.score([group])[0]]

            def by_service() -> list[float | None]:
                return [outcome.score for group in remote.score(groups) for outcome in group]

            sides = {"model": by_model, "service": by_service}
            rates: dict[str, list[float]] = {name: [] for name in sides}
            used: dict[str, list[float]] = {name: [] for name in sides}
            found: dict[str, list[float | None]] = {}
            for turn in range(rounds + 1):
                for name in sides if turn % 2 else reversed(sides):
                    began, before = time.monotonic(), processor_seconds(process.pid)
                    found[name] = sides[name]()
                    if turn:
                        rates[name].append(requests * size / (time.monotonic() - began))
                        used[name].append(processor_seconds(process.pid) - before)
            remote.close()
    pairs = [(x, y) for x, y in zip(found["model"], found["service"], strict=True) if x is not None and y is not None]
    return {
        "what": f"a reward model of {weights} weights in float32, {size} samples a batch alone and a request served",
        "requests_a_round": requests,
        "samples_a_second": {name: [round(rate, 1) for rate in own] for name, own in rates.items()},
        "service_over_model": ratios(rates["service"], rates["model"]),
        "processor_seconds_a_round": {name: [round(value, 2) for value in own] for name, own in used.items()},
        "model_over_service_in_processor_seconds": ratios(used["model"], used["service"]),
        "samples_judged_by_both": len(pairs),
        "largest_difference_of_scores": max(abs(x - y) for x, y in pairs),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["load", "throughput"])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--requests", type=int, default=10_000, help="of the load")
    parser.add_argument("--clients", type=int, default=64, help="of the load")
    parser.add_argument("--rounds", type=int, default=7, help="of the throughput")
    args = parser.parse_args(argv)
    before = os.getloadavg()
    part = load(args.requests, args.clients) if args.part == "load" else throughput(args.rounds, 10, 32)
    part |= {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "load_average_before": before,
        "load_average_after": os.getloadavg(),
    }
    known = json.loads(args.out.read_text()) if args.out.exists() else {}
    args.out.write_text(json.dumps(known | {args.part: part}, indent=2) + "\n")
    print(json.dumps(part, indent=2))


if __name__ == "__main__":
    main()
