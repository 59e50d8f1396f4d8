"""Which prompt comes where: keyed orders of rows, and sources mixed by given shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from lightrft_strategy.data.rejected import PromptDataError


def mixture_weights(probs: Sequence[float], num_sources: int) -> NDArray[np.float64]:
    """[num_sources] shares that sum to 1.

    Raises PromptDataError unless there is one positive, finite number for each source.
    """
    if len(probs) != num_sources:
        raise PromptDataError(
            f"--prompt_data_probs has {len(probs)} numbers, --prompt_data {num_sources} sources: give one for each"
        )
    if not all(math.isfinite(prob) and prob > 0 for prob in probs):
        raise PromptDataError(
            f"--prompt_data_probs must be positive numbers, not {', '.join(map(str, probs))}: "
            "a source that is not wanted is left out of --prompt_data"
        )
    total = math.fsum(probs)
    return np.array([prob / total for prob in probs], dtype=np.float64)


def permutation(length: int, *key: int) -> NDArray[np.int64]:
    """[length] the numbers below `length` in an order that follows from the key alone."""
    return np.argsort(_random_words(length, *key), kind="stable")


def source_of_position(weights: NDArray[np.float64], count: int, seed: int) -> NDArray[np.int64]:
    """[count] the source of each position, drawn with the weights; position i depends on (seed, i) alone."""
    uniforms = (_random_words(count, seed) >> np.uint64(11)) * 2.0**-53
    return np.searchsorted(np.cumsum(weights)[:-1], uniforms, side="right")


def turn_within_source(sources: NDArray[np.int64], num_sources: int) -> NDArray[np.int64]:
    """[count] how many earlier positions have the same source."""
    turns = np.empty(len(sources), dtype=np.int64)
    for source in range(num_sources):
        positions = np.flatnonzero(sources == source)
        turns[positions] = np.arange(len(positions))
    return turns


def _random_words(count: int, *key: int) -> NDArray[np.uint64]:
    """[count] raw words: unlike Generator's methods, numpy keeps these the same from version to version."""
    digest = blake2b("|".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(count)
