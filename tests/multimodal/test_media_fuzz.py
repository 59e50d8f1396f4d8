"""Malformed media never end the run: each is a record that can be read, or a MediaError that names it."""

from __future__ import annotations

import json
import resource
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightrft_multimodal import AudioRecord, ImageRecord, MediaError, Record, VideoRecord, load_media

from .malformed import malformed

SLOWEST_SECONDS = 20.0
MOST_MEGABYTES = 1500
RESULTS = Path(__file__).parents[2] / "docs/benchmarks/media_fuzz.json"


def consistent(record: Record) -> bool:
    """Whether a record holds what it says."""
    match record:
        case ImageRecord():
            image = record.image()
            return image.mode == "RGB" and image.size == (record.width, record.height)
        case VideoRecord():
            frames = record.frames()
            return frames.shape == (len(record.timestamps), record.height, record.width, 3) and record.fps > 0
        case AudioRecord():
            waveform = record.waveform()
            return len(waveform) == record.samples > 0 and bool(np.isfinite(waveform).all())


def outcomes(seeds: Iterable[int], folder: Path) -> dict[str, Any]:
    """Load the malformed media of these seeds, and say what became of them. Fails at the first that gets away."""
    ended, slowest = Counter[str](), 0.0
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds:
        what, part = malformed(seed, folder)
        started = time.monotonic()
        try:
            record = load_media(part, root=folder)
        except MediaError as error:
            message = str(error)
            assert message.isprintable(), seed
            assert 20 < len(message) < 700, seed
            assert any(word in message for word in ("image", "video", "audio", "media part", "a part")), (seed, message)
            ended[f"{what}: refused"] += 1
        else:
            assert consistent(record), seed
            ended[f"{what}: read"] += 1
        took = time.monotonic() - started
        assert took < SLOWEST_SECONDS, seed
        slowest = max(slowest, took)
    return {
        "media": ended.total(),
        "ended": dict(sorted(ended.items())),
        "slowest_seconds": round(slowest, 2),
        "memory_growth_megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) // 1024,
    }


def test_malformed_media_are_refused_by_name_or_read(tmp_path: Path) -> None:
    found = outcomes(range(150), tmp_path)
    assert found["memory_growth_megabytes"] < MOST_MEGABYTES
    refused = sum(count for name, count in found["ended"].items() if name.endswith("refused"))
    assert 100 < refused < 150


@pytest.mark.proof
def test_a_thousand_malformed_media_are_refused_by_name_or_read(tmp_path: Path) -> None:
    found = outcomes(range(1000, 2000), tmp_path)
    assert found["memory_growth_megabytes"] < MOST_MEGABYTES
    assert found["media"] == 1000
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
