"""What the benchmarks of the training pass share: a model of SmolLM2-135M's shape, and sides timed in turns."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from lightrft_core import Batch
from lightrft_strategy.language import LanguageActor

OUT = Path(__file__).parent.parent / "docs" / "benchmarks"
SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}


def random_model(layers: int, vocabulary: int) -> Any:
    """SmolLM2-135M's shape with so many layers and tokens (it has 30 and 49152) and random weights, in float32."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(LlamaConfig(num_hidden_layers=layers, vocab_size=vocabulary, **SHAPE))


def passes(actor: LanguageActor, batches: list[Batch]) -> Callable[[], None]:
    """Forward and backward passes over the batches; gradients are forgotten after the last."""

    def run() -> None:
        for batch in batches:
            output = actor(batch)
            (output.logprobs.sum() + 0.1 * output.entropy.sum()).backward()
        actor.zero_grad(set_to_none=True)

    return run


def seconds(sides: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Processor seconds of each side in every repeat, the sides in turns, after one that warms up.

    On one thread, so that they are those of an idle machine, nearly: waiting for others is not counted.
    """
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, run in sides.items():
            gc.collect()
            start = time.process_time()
            run()
            if repeat:
                times[name].append(time.process_time() - start)
    return times


def ratios(slow: list[float], fast: list[float]) -> dict[str, float]:
    """How many times as long the slow side took, repeat by repeat."""
    each = [one / other for one, other in zip(slow, fast, strict=True)]
    return {"median": statistics.median(each), "lowest": min(each), "highest": max(each)}


def write(name: str, result: dict[str, Any]) -> None:
    """Print the result and keep it in docs/benchmarks."""
    result |= {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "load_average_after": os.getloadavg(),
    }
    text = json.dumps(result, indent=2) + "\n"
    (OUT / name).write_text(text)
    print(text)
