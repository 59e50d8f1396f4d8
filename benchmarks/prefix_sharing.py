"""What computing a prompt once for its n answers saves of the forward and backward pass, beside the ideal.

    uv run python benchmarks/prefix_sharing.py --repeats 5

times the policy (model, head, log-probabilities and entropies) on one prompt with n answers in packed rows, the prompt
shared or copied for every answer, and writes docs/benchmarks/prefix_sharing.json. The ideal is counted in tokens and in
floating-point operations; the share reached is the time saved over what the ideal would save.
"""

from __future__ import annotations

import argparse
import os
import random
from typing import Any

import torch
from side_by_side import SHAPE, passes, random_model, ratios, seconds, write

from lightrft_core import Batch, TrainingSequence, collate
from lightrft_strategy.language import LanguageActor


def one_group(prompt_length: int, answer_length: int, answers: int, vocabulary: int) -> Batch:
    rng = random.Random(prompt_length)
    prompt = tuple(rng.randrange(vocabulary) for _ in range(prompt_length))
    zeros = torch.zeros(answer_length)
    return collate(
        [
            TrainingSequence(
                prompt, [rng.randrange(vocabulary) for _ in zeros], [True] * answer_length, 1.0, zeros, zeros
            )
            for _ in range(answers)
        ]
    )


def operations(layers: int, vocabulary: int, tokens: int, pairs: int, scored: int) -> float:
    """Multiplications and additions of a forward and backward pass.

    A weight is used three times a token, in the head four times, since its logits are computed again; of attention the
    backward pass takes 2.5 times the forward pass (FlashAttention-2, section 4.1).
    """
    hidden, inner, kv = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_key_value_heads"] * 64
    weights = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner
    head = 2 * 4 * scored * hidden * vocabulary
    return layers * (2 * 3 * weights * tokens + 3.5 * 4 * hidden * pairs) + head


def ideal(layers: int, vocabulary: int, prompt: int, answer: int, answers: int) -> dict[str, float]:
    """Cost of the shared pass over that of the unshared, in tokens and in operations."""
    own = answer - 1
    shared_pairs = prompt * (prompt + 1) // 2 + answers * (own * prompt + own * (own + 1) // 2)
    alone_pairs = answers * (prompt + own) * (prompt + own + 1) // 2
    shared_tokens, alone_tokens = prompt + answers * own, answers * (prompt + own)
    shared = operations(layers, vocabulary, shared_tokens, shared_pairs, answers * answer)
    return {
        "tokens": shared_tokens / alone_tokens,
        "operations": shared / operations(layers, vocabulary, alone_tokens, alone_pairs, answers * answer),
    }


def measure(layers: int, vocabulary: int, prompt: int, answer: int, answers: int, repeats: int) -> dict[str, Any]:
    model = random_model(layers, vocabulary)
    batch = [one_group(prompt, answer, answers, vocabulary)]
    ways = {"shared": (True, True), "copied": (True, False), "padded rows, shared by a cache": (False, True)}
    sides = {
        name: passes(LanguageActor(model, packing=packing, sharing=sharing), batch)
        for name, (packing, sharing) in ways.items()
    }
    times = seconds(sides, repeats)
    faster, least = ratios(times["copied"], times["shared"]), ideal(layers, vocabulary, prompt, answer, answers)
    return {
        "prompt": prompt,
        "answer": answer,
        "answers": answers,
        "processor_seconds": times,
        "copied_over_shared": faster,
        "cache_over_shared": ratios(times["padded rows, shared by a cache"], times["shared"]),
        "ideal_copied_over_shared": {unit: 1 / cost for unit, cost in least.items()},
        "share_of_ideal_saving": {
            unit: {kind: (1 - 1 / ratio) / (1 - cost) for kind, ratio in faster.items()} for unit, cost in least.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--answer", type=int, default=64)
    args = parser.parse_args()
    load = os.getloadavg()
    rows = {
        f"{times}:1": measure(args.layers, args.vocabulary, times * args.answer, args.answer, 8, args.repeats)
        for times in (1, 4, 16)
    }
    what = "forward and backward pass of a packed row, the prompt shared by its 8 answers or copied for each, float32"
    write(
        "prefix_sharing.json",
        {
            "what": what,
            "layers": args.layers,
            "vocabulary": args.vocabulary,
            "repeats": args.repeats,
            "load_average_before": load,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
