"""The embedded engine: sampling in the trainer's own process, from the trainer's own weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from lightrft_core import FinishReason, Group, Metrics, Prompt, Rollout, SamplingParams, TrainingDiverged, uniforms
from lightrft_strategy.engines.attention import DecodeStep, rollout_attention
from lightrft_strategy.engines.footprint import kv_bytes_per_token
from lightrft_strategy.engines.kv_cache import RolloutCache, copied
from lightrft_strategy.engines.laid_out import laid_out
from lightrft_strategy.engines.law import Laws
from lightrft_strategy.engines.refusals import refusal
from lightrft_strategy.engines.running import Ended, Running
from lightrft_strategy.looking_ahead import looking_ahead_masks
from lightrft_strategy.packing import places_of
from lightrft_strategy.reading import TEXT, Reader

CACHE_BYTES = 4 * 2**30
"""Keys and values held at once unless max_sequences says otherwise."""

REFILL = 8
"""New prompts join as soon as this part (one in so many) of the rows is free.

Waiting for k of R rows while answers of L tokens end evenly wastes k^2 L / 2R^2 row-free steps, and reading prompts
costs about a step besides what their tokens cost anyway: together least, per row, at k = R sqrt(2 / L), which is R / 8
for answers of 128 tokens, and flat around it.
"""


class EmbeddedEngine:
    """Samples from a causal language model that somebody else may be training.

    model: a Hugging Face language model; its weights are read where they are, so there is nothing to synchronise.
    reader: how it reads prompts, whose placeholders it never draws.
    decode: token ids -> text without special tokens.
    eos_token_ids: each of these ends an answer.
    max_sequences: answers drawn side by side, or those of one prompt if they are more; 0: as many as CACHE_BYTES of
    keys and values allow.
    progress: called with the number of answers finished since the last call.
    on_token: called with (number of the prompt, number of its answer, token id) for every token as soon as it is
    drawn, that which ends an answer included; what it raises ends `generate`.
    Raises ValueError if the model attends in a way that the engine does not know.
    """

    def __init__(
        self,
        model: Any,
        decode: Callable[[list[list[int]]], list[str]],
        *,
        eos_token_ids: Sequence[int],
        seed: int,
        reader: Reader = TEXT,
        max_sequences: int = 0,
        progress: Callable[[int], None] | None = None,
        on_token: Callable[[int, int, int], None] | None = None,
    ) -> None:
        self.config = model.config.get_text_config()
        strange = {*(getattr(self.config, "layer_types", None) or ())} - {"full_attention", "sliding_attention"}
        self.decoder = reader.decoder(model)
        if strange or not self.decoder._supports_attention_backend:
            raise ValueError(
                f"the embedded engine cannot sample from a {self.config.model_type} model, whose layers are not plain "
                f"attention ({', '.join(sorted(strange)) or 'they choose their own'}): sample with another engine"
            )
        self.model, self.decode, self.seed, self.reader = model, decode, seed, reader
        self.eos_token_ids = tuple(eos_token_ids)
        self._per_token = kv_bytes_per_token(self.config, torch.float32.itemsize)
        self.max_sequences = max_sequences
        self.progress, self.on_token = progress, on_token

    def load_weights(self, version: int) -> Metrics:
        """Nothing to do and nothing to show: the weights are the trainer's own."""
        return Metrics()

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        """sampling.n rollouts for each prompt, in the order of the prompts; see Engine.

        Raises TrainingDiverged if the model's logits are not numbers, ValueError if a bias names none of its tokens.
        """
        sampling = sampling.without(self.reader.placeholders)
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        positions = getattr(self.config, "max_position_embeddings", None)
        budget = max(sampling.of(sample).max_new_tokens for sample in range(sampling.n))
        errors = [refusal(prompt, budget, vocabulary, positions) for prompt in prompts]
        order = sorted(
            (index for index, error in enumerate(errors) if not error), key=lambda i: (-len(prompts[i].token_ids), i)
        )
        training = self.model.training
        self.model.eval()
        try:
            with laid_out(self.model, self.max_sequences or len(order) * sampling.n):
                ended = self._run([prompts[index] for index in order], sampling, step, order) if order else []
        finally:
            self.model.train(training)
        texts = self.decode([answer.token_ids for answer in ended]) if ended else []
        groups = [Group(prompt, [], error) for prompt, error in zip(prompts, errors, strict=True)]
        for i, (answer, text) in enumerate(zip(ended, texts, strict=True)):
            reason = FinishReason.STOP if answer.stopped else FinishReason.LENGTH
            ids = answer.token_ids
            groups[order[i // sampling.n]].rollouts.append(
                Rollout(i % sampling.n, ids, answer.logprobs, [True] * len(ids), reason, text)
            )
        return groups

    def _run(
        self, prompts: Sequence[Prompt], sampling: SamplingParams, step: int, places: Sequence[int]
    ) -> list[Ended]:
        """sampling.n answers of each prompt, in order. Prompts, longest first, join the others as room frees.

        places: what on_token is to call each prompt.
        """
        device, n, waiting = self.model.device, sampling.n, deque(enumerate(prompts))
        laws = Laws(sampling, self.eos_token_ids, self.model.get_input_embeddings().weight.shape[0], device)
        longest = len(prompts[0].token_ids)
        room = min(self._room(longest, laws.budget, n), len(prompts))
        slots = min(2 * room, room * n, len(prompts))
        cache = RolloutCache(
            rows=room * n,
            prompts=slots,
            prompt_time=longest,
            answer_time=laws.budget,
            device=device,
            copied=copied(room * n, longest, self._per_token),
        )
        running = Running(room * n, laws.budget, device)
        logits, ended = torch.zeros(0, device=device), dict[int, Ended]()
        while waiting or running.rows:
            free = min(room - -(-running.rows // n), slots - cache.prompts, len(waiting))
            if free and (free * REFILL >= room or free == len(waiting)):
                new = [waiting.popleft() for _ in range(free)]
                logits = torch.cat([logits, self._prefill([prompt for _, prompt in new], cache, n)])
                for number, prompt in new:
                    for sample, law in enumerate(laws.samples):
                        randomness = uniforms(self.seed, step, prompt, sample, law.max_new_tokens)
                        running.admit(number * n + sample, law, laws.numbers[sample], randomness)
            tokens, logprobs, stopped = laws.draw(logits, running.uniforms, running.law, running.count)
            if self.on_token is not None:
                for answer, token in zip(running.answer.tolist(), tokens.tolist(), strict=True):
                    self.on_token(places[answer // n], answer % n, token)
            over = running.record(tokens, logprobs)
            stopped |= running.stopped_by_text(tokens, self.decode)
            over |= stopped
            if over.any():
                ended |= running.take(over, stopped)
                self._report(int(over.sum()))
                holes, movers = cache.retire(~over)
                running.close_up(holes, movers, cache.rows)
                tokens[holes] = tokens[movers]
            logits = self._decode_step(tokens[: running.rows], cache) if running.rows else logits[:0]
        return [ended[answer] for answer in range(len(prompts) * n)]

    def _room(self, longest: int, budget: int, n: int) -> int:
        """How many prompts' answers may be drawn side by side. A second prompt's slot each is for those that linger."""
        if self.max_sequences:
            return max(1, self.max_sequences // n)
        return max(1, CACHE_BYTES // (self._per_token * (2 * longest + n * budget)))

    def _prefill(self, prompts: Sequence[Prompt], cache: RolloutCache, n: int) -> Tensor:
        """Admit prompts to the cache, each read once. Returns next-token logits [prompts * n, vocab]."""
        device, lengths = self.model.device, torch.tensor([len(prompt.token_ids) for prompt in prompts])
        ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : lengths[row]] = torch.tensor(prompt.token_ids)
        ids, lengths, states = ids.to(device), lengths.to(device), DynamicCache()
        places = places_of(ids)
        real = places_of(ids[:1]) < lengths[:, None]
        reading = self.reader.read_prompts(self.model, ids, real, [prompt.media for prompt in prompts])
        blocks = reading.blocks(places)
        hidden = self.decoder(
            **reading.inputs(places),
            attention_mask=None if blocks is None else looking_ahead_masks(self.config, real, blocks),
            past_key_values=states,
            use_cache=True,
        ).last_hidden_state[torch.arange(len(prompts)), lengths - 1]
        cache.admit([(layer.keys, layer.values) for layer in states.layers], lengths, reading.following, n)
        logits = self._logits(hidden)
        if logits.isnan().any():
            raise TrainingDiverged(
                "the model's logits are not numbers, so its weights are ruined: lower --actor_learning_rate, "
                "or start from other weights"
            )
        return logits.repeat_interleave(n, 0)

    def _decode_step(self, tokens: Tensor, cache: RolloutCache) -> Tensor:
        """Next-token logits [rows, vocab] after one more token a row."""
        rollouts = DecodeStep(cache)
        with rollout_attention(self.config):
            hidden = self.decoder(
                input_ids=tokens[:, None], position_ids=rollouts.rotary[:, None], use_cache=False, rollouts=rollouts
            ).last_hidden_state[:, -1]
        cache.grow()
        return self._logits(hidden)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        return logits.float()

    def _report(self, finished: int) -> None:
        if self.progress is not None:
            self.progress(finished)
