"""The embedded engine: sampling in the trainer's own process, from the trainer's own weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lightrft_core import FinishReason, Group, Prompt, Rollout, SamplingParams, TrainingDiverged, uniforms
from lightrft_strategy.engines.kv_cache import RolloutCache
from lightrft_strategy.engines.law import draw

CACHE_BYTES = 4 * 2**30
"""Keys and values held at once unless max_sequences says otherwise."""


class EmbeddedEngine:
    """Samples from a causal language model that somebody else may be training.

    model: a Hugging Face *ForCausalLM; its weights are read where they are, so there is nothing to synchronise.
    decode: token ids -> text without special tokens.
    eos_token_ids: each of these ends an answer.
    max_sequences: answers drawn side by side; 0: as many as CACHE_BYTES of keys and values allow.
    progress: called with the number of answers finished since the last call.
    """

    def __init__(
        self,
        model: Any,
        decode: Callable[[list[list[int]]], list[str]],
        *,
        eos_token_ids: Sequence[int],
        seed: int,
        max_sequences: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.model, self.decode, self.seed = model, decode, seed
        self.eos_token_ids = tuple(eos_token_ids)
        self.max_sequences = max_sequences
        self.progress = progress
        self.version = 0

    def load_weights(self, version: int) -> None:
        """Note the version; the weights are the trainer's own."""
        self.version = version

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        """sampling.n rollouts for each prompt, in the order of the prompts. Prompts of like length run together.

        Raises TrainingDiverged if the model's logits are not numbers.
        """
        groups: dict[int, Group] = {}
        by_length = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].token_ids), i))
        training = self.model.training
        self.model.eval()
        try:
            for indices in self._batches(by_length, prompts, sampling):
                batch = [prompts[index] for index in indices]
                for index, group in zip(indices, self._run(batch, sampling, step), strict=True):
                    groups[index] = group
        finally:
            self.model.train(training)
        return [groups[index] for index in range(len(prompts))]

    def _batches(
        self, order: Sequence[int], prompts: Sequence[Prompt], sampling: SamplingParams
    ) -> Iterator[Sequence[int]]:
        config = self.model.config.get_text_config()
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        per_token = 2 * config.num_hidden_layers * heads * width * self.model.dtype.itemsize
        start = 0
        while start < len(order):
            longest = len(prompts[order[start]].token_ids) + sampling.max_new_tokens
            rows = self.max_sequences or CACHE_BYTES // (per_token * longest)
            size = max(1, rows // sampling.n)
            yield order[start : start + size]
            start += size

    def _run(self, prompts: Sequence[Prompt], sampling: SamplingParams, step: int) -> list[Group]:
        """All answers of a batch of prompts, decoded side by side until the last one ends."""
        device, n, budget = self.model.device, sampling.n, sampling.max_new_tokens
        stop = torch.tensor([*self.eos_token_ids, *sampling.stop_token_ids], device=device)
        randomness = torch.zeros(len(prompts) * n, 0, dtype=torch.float64)
        if not sampling.greedy:
            keyed = [uniforms(self.seed, step, prompt, sample, budget) for prompt in prompts for sample in range(n)]
            randomness = torch.stack([torch.from_numpy(numbers) for numbers in keyed]).to(device)

        longest = max(len(prompt.token_ids) for prompt in prompts)
        cache = RolloutCache(self.model.config.get_text_config().num_hidden_layers, longest + budget, n)
        logits, real = self._prefill(prompts, longest, cache, n)
        if logits.isnan().any():
            raise TrainingDiverged(
                "the model's logits are not numbers, so its weights are ruined: lower --actor_learning_rate, "
                "or start from other weights"
            )
        rows = torch.arange(len(prompts) * n, device=device)
        lengths = real.sum(1)
        padded = not bool(real.all())
        tokens_out = torch.zeros(len(rows), budget, dtype=torch.long, device=device)
        logprobs_out = torch.zeros(len(rows), budget, device=device)
        counts = torch.full((len(rows),), budget, device=device)
        stopped = torch.zeros(len(rows), dtype=torch.bool, device=device)
        for position in range(budget):
            now = randomness[rows, position] if not sampling.greedy else randomness[rows, :0]
            tokens, logprobs = draw(logits, now, sampling.at(position))
            tokens_out[rows, position], logprobs_out[rows, position] = tokens, logprobs
            ended = torch.isin(tokens, stop)
            counts[rows[ended]], stopped[rows[ended]] = position + 1, True
            if ended.any():
                self._report(int(ended.sum()))
                kept = cache.retire(~ended)
                rows, tokens, lengths, real = rows[kept], tokens[kept], lengths[kept], real[kept]
            if not len(rows) or position + 1 == budget:
                break
            if padded:
                real = torch.cat([real, real.new_ones(len(rows), 1)], 1)
            logits = self._decode_step(tokens, lengths, real if padded else None, cache)
            lengths = lengths + 1
        self._report(len(rows))
        return self._groups(prompts, n, tokens_out, logprobs_out, counts, stopped)

    def _prefill(self, prompts: Sequence[Prompt], longest: int, cache: RolloutCache, n: int) -> tuple[Tensor, Tensor]:
        """Each prompt once, padded on the left. Returns next-token logits and the mask of real tokens, n rows each."""
        device = self.model.device
        ids = torch.zeros(len(prompts), longest, dtype=torch.long, device=device)
        real = torch.zeros(len(prompts), longest, dtype=torch.bool, device=device)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt.token_ids) :] = torch.tensor(prompt.token_ids)
            real[row, longest - len(prompt.token_ids) :] = True
        hidden = self.model.base_model(
            input_ids=ids,
            attention_mask=None if real.all() else real,
            position_ids=(real.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        return self._logits(hidden).repeat_interleave(n, 0), real.repeat_interleave(n, 0)

    def _decode_step(self, tokens: Tensor, positions: Tensor, real: Tensor | None, cache: RolloutCache) -> Tensor:
        """Next-token logits [rows, vocab] after one more token a row."""
        hidden = self.model.base_model(
            input_ids=tokens[:, None],
            attention_mask=real,
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        return self._logits(hidden)

    def _logits(self, hidden: Tensor) -> Tensor:
        head: Tensor = self.model.get_output_embeddings().weight
        return (hidden @ head.T).float()

    def _report(self, finished: int) -> None:
        if self.progress is not None and finished:
            self.progress(finished)

    def _groups(
        self, prompts: Sequence[Prompt], n: int, tokens: Tensor, logprobs: Tensor, counts: Tensor, stopped: Tensor
    ) -> list[Group]:
        token_ids = [row[:count] for row, count in zip(tokens.tolist(), counts.tolist(), strict=True)]
        logprob_rows = [row[:count] for row, count in zip(logprobs.tolist(), counts.tolist(), strict=True)]
        texts = self.decode(token_ids)
        reasons = [FinishReason.STOP if ended else FinishReason.LENGTH for ended in stopped.tolist()]
        rollouts = [
            Rollout(i % n, ids, logprob_rows[i], [True] * len(ids), reasons[i], texts[i])
            for i, ids in enumerate(token_ids)
        ]
        return [Group(prompt, rollouts[i * n : (i + 1) * n]) for i, prompt in enumerate(prompts)]
