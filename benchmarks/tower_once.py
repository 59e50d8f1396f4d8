"""What running a tower once for a prompt's n answers saves of a training step, beside the ideal.

    uv run python benchmarks/tower_once.py --repeats 5

times the policy's forward and backward pass on image prompts with n answers each, in packed rows, and writes
docs/benchmarks/tower_once.json. The tower runs for every answer, as it does where a batch is made of n copies of its
prompts; once for each prompt; or, where it does not learn, not at all after the first step: its embeddings are kept.
The decoder's prompt is computed for every answer on all sides, so that the tower alone tells them apart. The ideal is
counted in operations: multiplications and additions of all layers, those of the backward pass included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from side_by_side import passes, ratios, seconds, write
from torch import Tensor

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
    tower_layers=6,
    tower_heads=4,
    patch_size=14,
    min_pixels=28 * 28,
    max_pixels=448 * 448,
)


class PerSample:
    """An adapter that runs the towers for every row of a batch, whatever the row shares with others."""
