"""How evenly batches of texts, pictures, films and sounds are dealt to ranks: timed on few, simulated on many.

    uv run python benchmarks/multimodal_balance.py --repeats 5

writes docs/benchmarks/multimodal_balance.json. Timed: one optimiser step of a tiny Qwen2.5-Omni thinker on 2 and 4
processes, its sequences dealt by `partition` or as `contiguous` shares of equally many, in turns on the same batches. A
step lasts as long as the processor seconds of its slowest rank; on fewer processors than ranks the clock tells less.
Simulated: the work of the slowest rank of 8 to 512 on shapes of real models, where a media token costs what the decoder
and its share of the tower compute for it, dealt by all of that or by tokens alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from side_by_side import OUT, ratios, write
from torch import Tensor

from lightrft_core import Batch, BatchSizes, Cost, Media, Message, Metrics, TrainingSequence, collate, micro_batches
from lightrft_core.partition import contiguous, makespan, partition
from lightrft_core.plan import deal
from lightrft_multimodal.adapters import MediaAdapter, load_adapter
from lightrft_multimodal.media import AudioRecord, ImageRecord, VideoRecord
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_omni
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.reading import Reader
from lightrft_strategy.training import OptimiserConfig, TorchRanks, TorchStrategy
from lightrft_strategy.training.cost import cost_of

NAME = "multimodal_balance.json"
SIZES = Sizes(
    hidden_size=128,
    intermediate_size=384,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    tower_size=64,
    tower_layers=3,
    tower_heads=4,
    patch_size=14,
    min_pixels=28 * 28,
    max_pixels=448 * 448,
    max_seconds=20,
)
CHOICES = ("text", "text", "image", "three images", "long video", "sound")
"""Of which a prompt is drawn."""
PROMPTS, ANSWERS = 12, 4
DECODERS = {
    "Qwen2.5-VL-3B": Cost.of_shape(2048, 36, 2_770_000_000),
    "Qwen2.5-VL-7B": Cost.of_shape(3584, 28, 6_530_000_000),
}
TOWER = 4 * 630_000_000
"""Multiply-adds of Qwen2.5-VL's tower for one of its embeddings, which four patches make."""
MEDIA = -1
"""What stands for an embedding in a simulated prompt."""


def png(rng: random.Random, width: int, height: int) -> bytes:
    buffer = BytesIO()
    pixels = np.random.default_rng(rng.randrange(2**32)).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def picture(rng: random.Random) -> Media:
    side = rng.choice([140, 224, 336])
    return ImageRecord(str(rng.random()), side, side, png(rng, side, side))


def film(rng: random.Random) -> Media:
    """16 frames of 64 tokens a pair."""
    frames = tuple(png(rng, 224, 224) for _ in range(16))
    return VideoRecord(str(rng.random()), 224, 224, 2.0, tuple(number / 2 for number in range(16)), frames)


def sound(rng: random.Random) -> Media:
    noise = np.random.default_rng(rng.randrange(2**32)).normal(0, 0.1, rng.randint(3, 20) * 16_000)
    return AudioRecord(str(rng.random()), 16_000, noise.astype("<f4").tobytes())


def shown(choice: str, rng: random.Random) -> list[Media]:
    makers = {"image": (picture, 1), "three images": (picture, 3), "long video": (film, 1), "sound": (sound, 1)}
    make, count = makers.get(choice, (picture, 0))
    return [make(rng) for _ in range(count)]


def a_step(adapter: MediaAdapter, seed: int) -> list[TrainingSequence]:
    """Answers to prompts of every kind in random order."""
    rng, sequences = random.Random(seed), []
    for _ in range(PROMPTS):
        media = shown(rng.choice(CHOICES), rng)
        parts = [{"type": medium.modality} for medium in media]
        words = {"type": "text", "text": "word " * rng.randint(3, 30)}
        ids = adapter.encode([Message("user", [*parts, words])], media)[1]
        for _ in range(ANSWERS):
            answer = [rng.randrange(200) for _ in range(rng.randint(8, 64))]
            numbers, place = torch.ones(len(answer)), len(sequences)
            mask = [True] * len(answer)
            sequences.append(
                TrainingSequence(ids, answer, mask, 1e-4, numbers, -numbers, place=place, media=tuple(media))
            )
    return sequences


def dealt(way: str, sequences: Sequence[TrainingSequence], sizes: BatchSizes, ranks: int) -> list[list[Batch]]:
    """Each rank's micro-batches, equally many."""
    if way == "partition":
        shares = deal(sequences, sizes, ranks)
    else:
        budget, most = sizes.max_tokens_per_micro_batch, sizes.micro_train_batch_size
        shares = [
            micro_batches(share, token_budget=budget, max_sequences=most, packing=True)
            for share in contiguous(sequences, ranks)
        ]
        longest = max(map(len, shares))
        shares = [share + [[]] * (longest - len(share)) for share in shares]
    return [[collate(part) for part in share] for share in shares]


def objective(output: Any, batch: Batch) -> tuple[Tensor, Metrics]:
    return -(batch.weights * batch.advantages * output.logprobs).sum(), Metrics()


def rank(number: int, ranks: int, folder: str, repeats: int, results: Any) -> None:
    """Steps on the same batches dealt in both ways in turns; tells (way, processor seconds, seconds) of each."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store{ranks}", rank=number, world_size=ranks)
    adapter = load_adapter(folder)
    assert adapter is not None
    model = adapter.load_model(folder)
    sizes = BatchSizes(None, 64, 2048, 64, packing=True, cost=cost_of(model, adapter))
    actor = LanguageActor(model, reader=Reader(adapter), packing=True)
    strategy = TorchStrategy({"policy": actor}, {"policy": OptimiserConfig(1e-5, 100)}, ranks=TorchRanks())
    told = []
    for repeat in range(repeats + 1):
        sequences = a_step(adapter, repeat)
        for way in ("partition", "contiguous"):
            mine = dealt(way, sequences, sizes, ranks)[number]
            dist.barrier()
            clock, processor = time.perf_counter(), time.process_time()
            strategy.train_step("policy", mine, objective)
            processor = time.process_time() - processor
            dist.barrier()
            told.append((way, processor, time.perf_counter() - clock))
    results.put((number, told[2:]))
    dist.barrier()
    dist.destroy_process_group()


def timed(ranks: int, folder: str, repeats: int) -> dict[str, Any]:
    """Each step's slowest rank, in both ways."""
    context = mp.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=rank, args=(each, ranks, folder, repeats, results)) for each in range(ranks)]
    try:
        for process in processes:
            process.start()
        told = [results.get(timeout=600)[1] for _ in processes]
        for process in processes:
            process.join(60)
    finally:
        for process in processes:
            process.kill()
    slowest: dict[str, list[float]] = {"partition": [], "contiguous": []}
    clock: dict[str, list[float]] = {"partition": [], "contiguous": []}
    for steps in zip(*told, strict=True):
        way = steps[0][0]
        slowest[way].append(max(processor for _, processor, _ in steps))
        clock[way].append(max(seconds for *_, seconds in steps))
    return {
        "ranks": ranks,
        "processors": os.cpu_count(),
        "processor_seconds_of_the_slowest_rank": slowest,
        "naive_over_balanced": ratios(slowest["contiguous"], slowest["partition"]),
        "seconds": clock,
        "naive_over_balanced_by_the_clock": ratios(clock["contiguous"], clock["partition"]),
    }


def simulated_step(seed: int, prompts: int, median: float) -> list[TrainingSequence]:
    """16 answers of this median length to prompts of text, images, long videos and sounds, as numbers of tokens."""
    rng, nothing, sequences = random.Random(seed), torch.zeros(0), list[TrainingSequence]()
    tokens = {"text": (0, 0), "image": (256, 1280), "three images": (768, 3840), "long video": (2048, 8192)}
    for group in range(prompts):
        low, high = tokens.get(rng.choice(CHOICES), (50, 750))
        text = int(min(2048, max(32, rng.lognormvariate(5.2, 0.6))))
        ids = (group,) * text + (MEDIA,) * rng.randint(low, high)
        scale = median * rng.lognormvariate(0, 0.5)
        lengths = [int(min(8192, max(2, scale * rng.lognormvariate(0, 0.5)))) for _ in range(16)]
        sequences += [TrainingSequence(ids, range(length), [], 0.0, nothing, nothing) for length in lengths]
    return sequences


def simulated(model: str, ranks: int, median: float, frozen: bool, seeds: Sequence[int]) -> dict[str, Any]:
    """The slowest rank's work, of 4 prompts a rank, dealt naively, by tokens alone, and by the tower's work too.

    A tower that does not learn has no backward pass, which takes twice as long as the forward pass.
    """
    by_tokens = DECODERS[model]
    whole = Cost(by_tokens.linear, by_tokens.quadratic, ((MEDIA, TOWER / 3 if frozen else TOWER),))
    runs: list[Mapping[str, float]] = []
    for seed in seeds:
        sequences, speeds = simulated_step(seed, 4 * ranks, median), [1.0] * ranks
        ways = {
            "naive": contiguous(sequences, ranks),
            "tokens": partition(sequences, ranks, cost=by_tokens),
            "all": partition(sequences, ranks, cost=whole),
        }
        work = {way: makespan(shares, speeds, whole, True) for way, shares in ways.items()}
        runs.append({"naive": work["naive"] / work["all"], "tokens": work["tokens"] / work["all"]})
    case = {"model": model, "tower": "frozen" if frozen else "learns", "median_answer": median, "ranks": ranks}
    return case | {
        f"{way}_over_balanced": {
            "mean": statistics.mean(run[way] for run in runs),
            "lowest": min(run[way] for run in runs),
            "highest": max(run[way] for run in runs),
        }
        for way in ("naive", "tokens")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--parts", nargs="+", choices=("timed", "simulated"), default=["timed", "simulated"])
    args = parser.parse_args()
    known = json.loads((OUT / NAME).read_text()) if (OUT / NAME).exists() else {}
    parts = {name: known[name] for name in ("timed", "simulated") if name in known}
    if "timed" in args.parts:
        load = os.getloadavg()
        with tempfile.TemporaryDirectory() as folder:
            build_qwen2_5_omni(Path(folder), SIZES)
            steps = [timed(ranks, folder, args.repeats) for ranks in (2, 4)]
        parts["timed"] = {"load_average_before": load, "load_average_after": os.getloadavg(), "steps": steps}
    if "simulated" in args.parts:
        cases = [
            simulated(model, ranks, median, frozen, args.seeds)
            for model in DECODERS
            for frozen in (False, True)
            for median in (60.0, 1100.0)
            for ranks in (8, 64, 512)
        ]
        parts["simulated"] = {"seeds": args.seeds, "cases": cases}
    what = "optimiser steps on texts, pictures, films and sounds: the slowest rank's, naively dealt over balanced"
    write(NAME, {"what": what, **parts})


if __name__ == "__main__":
    main()
