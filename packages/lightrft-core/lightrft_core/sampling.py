"""How answers are drawn, and the randomness they are drawn with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from lightrft_core.types import Prompt


@dataclass(frozen=True)
class FirstToken:
    """FIRE (Chen et al. 2024, arXiv 2410.21236): temperature and top-k of an answer's first token, drawn boldly."""

    temperature: float = 10.0
    top_k: int = 16

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.top_k < 0:
            raise ValueError("the first token needs a temperature above 0 and a top_k of 0 (all tokens) or more")


@dataclass(frozen=True)
class SamplingParams:
    """The law an answer is drawn from.

    temperature: divides the logits; 0 is greedy.
    top_p: keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    top_k: keep this many most likely tokens; 0 keeps all.
    max_new_tokens: budget of an answer, in tokens.
    n: answers per prompt.
    stop_token_ids: end an answer, besides the model's own end-of-sequence tokens.
    first_token: another law for an answer's first token alone (FIRE).
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 1024
    n: int = 1
    stop_token_ids: tuple[int, ...] = ()
    first_token: FirstToken | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must be 0 (greedy) or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all tokens) or more, not {self.top_k}")
        if self.max_new_tokens < 1 or self.n < 1:
            raise ValueError("max_new_tokens and n must be at least 1")
        if self.greedy and self.first_token is not None:
            raise ValueError("a greedy answer has no first token drawn boldly")

    def at(self, position: int) -> SamplingParams:
        """The law of the token at this position of an answer, 0 being the first.

        An engine that keeps one law for a whole answer draws one token under at(0), then goes on under at(1).
        """
        if position > 0 or self.first_token is None:
            return self
        return replace(self, temperature=self.first_token.temperature, top_k=self.first_token.top_k, top_p=1.0)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


def uniforms(seed: int, step: int, prompt: Prompt, sample: int, count: int) -> NDArray[np.float64]:
    """[count] numbers in [0, 1), one per token, keyed by (seed, step, prompt, sample) alone.

    Neither the number of ranks, nor the batch an answer is drawn in, nor a restart changes them.
    """
    key = f"{seed}|{step}|{prompt.uid}|{prompt.occurrence}|{sample}".encode()
    digest = blake2b(key, digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).random(count)
