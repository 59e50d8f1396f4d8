"""What running a tower once for a prompt's n answers saves of a training step, beside the ideal.

    uv run python benchmarks/tower_once.py --repeats 5

times the policy's forward and backward pass on image prompts with n answers each, in packed rows, and writes
docs/benchmarks/tower_once.json. The tower runs for every answer, where each has a copy of the image that is taken for
another; once for each prompt; or, where it does not learn, not at all after the first step, since its embeddings are
kept. In the ideal the pass takes less by just the operations (multiplications and additions in matrices, convolutions
and attention, forward and backward) of the tower's runs that are saved.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from side_by_side import passes, ratios, seconds, write
from torch.utils.flop_counter import FlopCounterMode

from lightrft_core import Batch, Message, TrainingSequence, collate
from lightrft_multimodal.adapters import MediaAdapter, load_adapter
from lightrft_multimodal.media import ImageRecord, load_image
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_vl
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.reading import Reader

SIZES = Sizes(
    hidden_size=256,
    intermediate_size=768,
    num_hidden_layers=6,
    num_attention_heads=4,
    num_key_value_heads=2,
    tower_size=192,
    tower_layers=3,
    tower_heads=4,
    patch_size=14,
    min_pixels=28 * 28,
    max_pixels=1024 * 1024,
)
"""A tower of a quarter of the decoder's weights, four patches a token: as in Qwen2.5-VL-3B."""


@dataclass(frozen=True)
class Copy:
    """An image that is taken for another one."""

    record: ImageRecord
    number: int
    modality: str = "image"

    @property
    def sha256(self) -> str:
        return f"{self.record.sha256} {self.number}"

    def image(self) -> Image.Image:
        return self.record.image()


def picture(side: int) -> ImageRecord:
    buffer = BytesIO()
    Image.effect_noise((side, side), 80).convert("RGB").save(buffer, "PNG")
    return load_image(buffer.getvalue())


def a_batch(adapter: MediaAdapter, record: ImageRecord, answers: int, length: int, *, shared: bool) -> Batch:
    """Answers to one question about an image, which they share or have a copy each of."""
    rng, sequences = random.Random(0), []
    messages = [Message("user", [{"type": "image"}, {"type": "text", "text": "What is it?"}])]
    ids = adapter.encode(messages, [record])[1]
    zeros = torch.zeros(length)
    for number in range(answers):
        answer, media = [rng.randrange(200) for _ in zeros], record if shared else Copy(record, number)
        sequences.append(TrainingSequence(ids, answer, [True] * length, 1.0, zeros, zeros, media=(media,)))
    return collate(sequences)


def operations(run: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def measure(folder: Path, side: int, length: int, answers: int, repeats: int, *, frozen: bool) -> dict[str, Any]:
    adapter = load_adapter(folder)
    assert adapter is not None
    model = adapter.load_model(folder)
    model.base_model.visual.requires_grad_(not frozen)
    each, once = (a_batch(adapter, picture(side), answers, length, shared=shared) for shared in (False, True))
    forgetful, keeping = Reader(adapter, every_tower=True), Reader(adapter)

    def actor(reader: Reader, *, sharing: bool) -> LanguageActor:
        return LanguageActor(model, reader=reader, packing=True, sharing=sharing)

    runs = {
        "tower for each answer": passes(actor(forgetful, sharing=False), [each]),
        "tower once": passes(actor(keeping, sharing=False), [once]),
        "tower once, prompt once": passes(actor(keeping, sharing=True), [once]),
    }

    def tower() -> None:
        seen = adapter.perceive(model, once.prompt_ids, once.prompt_mask, once.media, every_tower=True)
        if not frozen:
            seen.features.sum().backward()
            model.zero_grad(set_to_none=True)

    of_tower, of_all = operations(tower), operations(runs["tower for each answer"])
    left = of_all - (answers if frozen else answers - 1) * of_tower
    times = seconds(runs, repeats)
    slow, fast = times["tower for each answer"], times["tower once"]
    found, ideal = ratios(slow, fast), of_all / left
    return {
        "tower": "frozen" if frozen else "learns",
        "image_tokens": int((once.prompt_ids == adapter.kinds["image"]).sum()),
        "answer": length,
        "answers": answers,
        "tower_share_of_operations": answers * of_tower / of_all,
        "processor_seconds": times,
        "each_over_once": found,
        "ideal_each_over_once": ideal,
        "share_of_ideal_saving": {kind: (1 - 1 / ratio) / (1 - 1 / ideal) for kind, ratio in found.items()},
        "each_over_prompt_once_too": ratios(slow, times["tower once, prompt once"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--answer", type=int, default=64)
    args = parser.parse_args()
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        build_qwen2_5_vl(Path(folder), SIZES)
        rows = [
            measure(Path(folder), side, args.answer, args.answers, args.repeats, frozen=frozen)
            for side in (224, 448)
            for frozen in (False, True)
        ]
    what = "forward and backward pass on an image prompt with 8 answers, the tower run for each answer or once, float32"
    write("tower_once.json", {"what": what, "repeats": args.repeats, "load_average_before": load, "rows": rows})


if __name__ == "__main__":
    main()
