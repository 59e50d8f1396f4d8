"""The law a token is drawn from, and the draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lightrft_core import SamplingParams

BLOCK = 256
"""Width of a block in the two-level search for a drawn token."""


def truncate(logits: Tensor, sampling: SamplingParams) -> Tensor:
    """Tempered logits [rows, vocab] with -inf where top-k or top-p leave no chance; top-k first, as elsewhere."""
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        lowest = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < lowest, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        out = (before >= sampling.top_p).scatter(-1, order, before >= sampling.top_p)
        logits = logits.masked_fill(out, -torch.inf)
    return logits


def draw(logits: Tensor, uniforms: Tensor, sampling: SamplingParams) -> tuple[Tensor, Tensor]:
    """Draw one token a row by inverting the law's distribution function.

    logits: [rows, vocab] float32. uniforms: [rows] float64 in [0, 1), ignored when greedy.
    Returns (tokens, logprobs), both [rows]: log-probability under the very law drawn from, temperature, top-p and top-k
    applied; for a greedy choice, which has no randomness to weigh, under temperature 1.
    """
    if sampling.greedy:
        tokens = logits.argmax(-1)
        return tokens, _chosen(logits.log_softmax(-1), tokens)
    logprobs = truncate(logits, sampling).log_softmax(-1)
    rows, vocab = logprobs.shape
    blocks = torch.nn.functional.pad(logprobs.exp(), (0, -vocab % BLOCK)).view(rows, -1, BLOCK)
    sums = blocks.sum(-1).double().cumsum(-1)
    target = uniforms.to(sums) * sums[:, -1]
    block = torch.searchsorted(sums, target[:, None], right=True)
    rest = target - sums.gather(-1, (block - 1).clamp(min=0))[:, 0] * (block[:, 0] > 0)
    within = blocks[torch.arange(rows, device=block.device), block[:, 0]].double().cumsum(-1)
    # Two roundings of one sum may leave `rest` above the block's own: the last possible token is then meant.
    offset = torch.searchsorted(within, rest.minimum(within[:, -1] * (1 - 1e-12))[:, None], right=True)
    tokens = (block * BLOCK + offset)[:, 0]
    return tokens, _chosen(logprobs, tokens)


def _chosen(logprobs: Tensor, tokens: Tensor) -> Tensor:
    return logprobs.gather(-1, tokens[:, None])[:, 0]


class Laws:
    """The laws of the answers that sampling asks for, drawn side by side, each at its own position.

    samples: the law of each of a prompt's answers. numbers: what rows call it; equal laws have the same number.
    budget: the most tokens of any. eos_token_ids: end every answer, whatever its law.
    Raises ValueError if a bias is for none of the vocabulary's tokens.
    """

    def __init__(
        self, sampling: SamplingParams, eos_token_ids: Sequence[int], vocabulary: int, device: torch.device
    ) -> None:
        self.samples = [sampling.of(sample) for sample in range(sampling.n)]
        self._laws = laws = [law for i, law in enumerate(self.samples) if law not in self.samples[:i]]
        self.numbers = [laws.index(law) for law in self.samples]
        self.budget = max(law.max_new_tokens for law in laws)
        for token in (token for law in laws for token in law.logit_bias if not 0 <= token < vocabulary):
            raise ValueError(f"logit_bias names token {token}, but tokens go from 0 to {vocabulary - 1}: leave it out")
        ends = [{*eos_token_ids, *law.stop_token_ids}.intersection(range(vocabulary)) for law in laws]
        self._ends = [_tokens(tokens, device) for tokens in ends]
        self._never = [_tokens(law.never, device) for law in laws]
        self._biased = [_tokens(law.logit_bias, device) for law in laws]
        self._biases = [torch.tensor([*law.logit_bias.values()], dtype=torch.float32, device=device) for law in laws]
        self._least = torch.tensor([law.min_new_tokens for law in laws], device=device)
        self._changing = len(laws) > 1 or laws[0].first_token is not None or laws[0].min_new_tokens > 0

    def draw(self, logits: Tensor, uniforms: Tensor, law: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw each row's next token.

        logits: [rows, vocab] float32. uniforms: [rows] float64. law: [rows] numbers. position: [rows] tokens so far.
        Returns (tokens, logprobs, ended), all [rows]: see `draw`; ended is whether the token ends the answer.
        """
        if not self._changing:
            return self._draw(logits, uniforms, 0, first=False, early=False)
        tokens, logprobs, ended = torch.zeros_like(law), logits.new_zeros(len(law)), torch.zeros_like(law).bool()
        kinds = law * 4 + (position == 0) * 2 + (position < self._least[law])
        for kind in torch.unique(kinds).tolist():
            rows = (kinds == kind).nonzero()[:, 0]
            drawn = self._draw(logits[rows], uniforms[rows], kind // 4, first=bool(kind & 2), early=bool(kind & 1))
            tokens[rows], logprobs[rows], ended[rows] = drawn
        return tokens, logprobs, ended

    def _draw(
        self, logits: Tensor, uniforms: Tensor, number: int, *, first: bool, early: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        if len(self._biased[number]):
            logits = logits.index_add(1, self._biased[number], self._biases[number].expand(len(logits), -1))
        if len(self._never[number]):
            logits = logits.index_fill(1, self._never[number], -torch.inf)
        if early:
            logits = logits.index_fill(1, self._ends[number], -torch.inf)
        tokens, logprobs = draw(logits, uniforms, self._laws[number].at(0 if first else 1))
        return tokens, logprobs, torch.isin(tokens, self._ends[number])


def _tokens(token_ids: Iterable[int], device: torch.device) -> Tensor:
    return torch.tensor([*token_ids], dtype=torch.long, device=device)
