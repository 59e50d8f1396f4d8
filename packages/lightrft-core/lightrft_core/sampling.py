"""How answers are drawn, and the randomness they are drawn with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    min_new_tokens: an answer cannot end by a token before it has this many.
    stop_token_ids: end an answer, besides the model's own end-of-sequence tokens.
    stop: texts that end an answer; the token that completes one is the answer's last, and its text keeps it.
    logit_bias: token id -> what is added to its logit, before the temperature.
    never: token ids that are not drawn: their probability is 0, and that of the others higher accordingly.
    first_token: another law for an answer's first token alone (FIRE).
    per_sample: a law of its own (with n = 1) for each of the n answers; the rest of these fields then stand for none.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 1024
    n: int = 1
    min_new_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    never: tuple[int, ...] = ()
    first_token: FirstToken | None = None
    per_sample: tuple[SamplingParams, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must be 0 (greedy) or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all tokens) or more, not {self.top_k}")
        if self.max_new_tokens < 1 or self.n < 1:
            raise ValueError("max_new_tokens and n must be at least 1")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ValueError(f"min_new_tokens must be from 0 to max_new_tokens, not {self.min_new_tokens}")
        if "" in self.stop:
            raise ValueError("an empty text would end every answer before it begins: leave it out of stop")
        if self.greedy and self.first_token is not None:
            raise ValueError("a greedy answer has no first token drawn boldly")
        if self.per_sample and (len(self.per_sample) != self.n or any(law.n != 1 for law in self.per_sample)):
            raise ValueError(f"per_sample needs one law with n = 1 for each of the {self.n} answers")

    def of(self, sample: int) -> SamplingParams:
        """The law of the sample-th answer alone, n being 1."""
        return self.per_sample[sample] if self.per_sample else replace(self, n=1)

    def without(self, tokens: Sequence[int]) -> SamplingParams:
        """The same law, which never draws these tokens, for any of its answers."""
        per_sample = tuple(law.without(tokens) for law in self.per_sample)
        return replace(self, never=(*self.never, *tokens), per_sample=per_sample) if tokens else self

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
    digest = _digest(seed, step, prompt, sample, size=16)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).random(count)


def answer_seed(seed: int, step: int, prompt: Prompt, sample: int) -> int:
    """A number from 0 to below 2**63, keyed as `uniforms`: for engines that draw by themselves."""
    return int.from_bytes(_digest(seed, step, prompt, sample, size=8), "little") >> 1


def _digest(seed: int, step: int, prompt: Prompt, sample: int, *, size: int) -> bytes:
    key = f"{seed}|{step}|{prompt.uid}|{prompt.occurrence}|{sample}".encode()
    return blake2b(key, digest_size=size).digest()
