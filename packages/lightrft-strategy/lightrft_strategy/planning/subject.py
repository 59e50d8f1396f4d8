"""A model without memory, on the meta device: what its passes would hold and compute, counted rather than estimated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from lightrft_core import Batch, Prompt, chosen_logprobs
from lightrft_core.batching import TrainingSequence, collate
from lightrft_core.logprobs import CHUNK_ELEMENTS, CPU_CHUNK_ELEMENTS
from lightrft_strategy.engines.footprint import kv_bytes_per_token
from lightrft_strategy.four_bit import fits
from lightrft_strategy.hidden import hidden_before_tokens
from lightrft_strategy.language import LanguageActor, LanguageCritic, without_dropout
from lightrft_strategy.planning.counting import NAME, TOWER, Alive, Saved
from lightrft_strategy.planning.slices import Row, sliced
from lightrft_strategy.planning.whole_numbers import META
from lightrft_strategy.planning.workload import Rows
from lightrft_strategy.training.fsdp2 import layers
from lightrft_strategy.training.optimiser import set_precision

FOUR_BIT_BYTES = 4.127 / 8
"""Of a weight in 4-bit normal floats with double quantisation (Dettmers et al. 2023, arXiv 2305.14314, section 3)."""


def empty_model(pretrain: str | Path, *, trust_remote_code: bool = False) -> Any:
    """A causal language model from its configuration alone, float32, on the meta device; no weight is read.

    Raises OSError or ValueError if there is no configuration of such a model.
    """
    config = AutoConfig.from_pretrained(pretrain, trust_remote_code=trust_remote_code)
    with META:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=trust_remote_code)
    return without_dropout(model)


@dataclass(frozen=True)
class Weights:
    """Numbers of a model. trained: of total. layer: in the largest layer that shards are gathered by, of `layers`.

    outside: in no such layer. largest: in one tensor. small: in tensors of up to 100 000. table: in an embedding table
    that is no head. quantised: of total, in 4 bits. towers: of total, in what sees and hears.
    """

    total: int
    trained: int
    layer: int
    layers: int
    outside: int
    largest: int
    small: int
    table: int
    quantised: int = 0
    towers: int = 0

    def bytes(self, itemsize: int) -> int:
        """Of all, those not quantised at itemsize each."""
        return int((self.total - self.quantised) * itemsize + self.quantised * FOUR_BIT_BYTES)


@dataclass(frozen=True)
class Pass:
    """One micro-batch. peak: most bytes alive at once besides weights. saved: kept by autograd for the backward pass.

    scoring: most bytes alive in the log-probabilities alone. flops: of matrix products, those of the decoder's
    attention left out. seeing: of them, those of towers. sends: bytes to ranks with other slices of layers.
    """

    peak: int
    saved: int
    scoring: int
    flops: int
    seeing: int = 0
    sends: float = 0.0


@dataclass(frozen=True)
class _Read:
    """What is read in a pass. asked: prompts with media. rows: None: one row of so many tokens, so many scored."""

    tokens: int
    scored: int
    asked: Sequence[Prompt]
    rows: Rows | None

    @property
    def key(self) -> tuple[object, ...]:
        return self.tokens, self.scored, len(self.asked), self.rows


class Subject:
    """A policy, critic or frozen scorer whose parameters are on the meta device.

    dtype: what it is computed in. four_bit: hold its linear layers, but not its head, in 4 bits.
    prompt_of: number -> a prompt of a batch, all of one length, with media that the module's reader reads; None: the
    module reads text alone, of which only the length matters.
    on_host: it is computed on a CPU, which holds fewer logits at once.
    """

    def __init__(
        self,
        module: LanguageActor | LanguageCritic,
        dtype: torch.dtype,
        *,
        four_bit: bool = False,
        prompt_of: Callable[[int], Prompt] | None = None,
        on_host: bool = False,
    ) -> None:
        self.module: LanguageActor | LanguageCritic = module.to(META)
        self.dtype, self.itemsize, self.config = dtype, dtype.itemsize, module.model.config.get_text_config()
        self.weights = _weights(module, four_bit)
        set_precision(module, dtype)
        for part in [part for part in module.modules() if isinstance(part, PreTrainedModel)]:
            part.config._attn_implementation = TOWER
        module.reader.decoder(module.model).config._attn_implementation = NAME
        self.prompt_of, self.on_host = prompt_of, on_host
        self._passes: dict[tuple[object, ...], Pass] = {}
        self._slices: dict[int, Subject] = {}
        self._row, self._attending = Row(), 1

    def slice(self, size: int) -> Subject:
        """What each of so many ranks has that hold slices of its layers. Raises ValueError as plan_slices does."""
        if size == 1:
            return self
        if size not in self._slices:
            cut, one = sliced(self.module, size), copy.copy(self)
            one.module, one._row, one._attending = cut.module, cut.row, cut.attending
            one.weights, one._passes = _weights(cut.module, four_bit=False), {}
            self._slices[size] = one
        return self._slices[size]

    @property
    def kv_bytes(self) -> int:
        """Of one token's keys and values."""
        return kv_bytes_per_token(self.config, self.itemsize)

    @property
    def vocabulary(self) -> int:
        return int(self.config.vocab_size)

    @property
    def attention_flops(self) -> float:
        """Of a forward pass, for each pair of a token and one it sees: a score and a weighed value in every head."""
        width = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        return float(4 * self.config.num_hidden_layers * self.config.num_attention_heads * width / self._attending)

    @property
    def checkpointed(self) -> bool:
        return bool(self.module.model.is_gradient_checkpointing)

    @property
    def keeps_embeddings(self) -> bool:
        """Whether what a tower makes of media may be kept: it does not learn, and ranks do not hold it in shards."""
        reader, model = self.module.reader, self.module.model
        towers = [] if reader.adapter is None or reader.every_tower else reader.adapter.towers.values()
        return not all(any(weight.requires_grad for weight in _within(model, names)) for names in towers)

    def forward(self, tokens: int, scored: int, prompts: int = 0, rows: Rows | None = None) -> Pass:
        """A pass without gradient over one row of tokens, so many scored. prompts: those whose media are read.

        rows: read these in its place; of a module that reads media, one row is counted.
        """
        read = self._row_of(tokens, scored, prompts, rows)
        return self._cached(("forward", *read.key), lambda: self._forward(read))

    def training(self, tokens: int, scored: int, prompts: int = 0, rows: Rows | None = None, *, keep: bool) -> Pass:
        """A forward and a backward pass. keep: gradients stay with their parameters; else each is gone at once."""
        read = self._row_of(tokens, scored, prompts, rows)
        return self._cached(("training", *read.key, keep), lambda: self._training(read, keep))

    def _row_of(self, tokens: int, scored: int, prompts: int, rows: Rows | None) -> _Read:
        if self.prompt_of is None:
            return _Read(tokens, scored, [], rows)
        return _Read(tokens, scored, [self.prompt_of(number) for number in range(prompts)], None)

    def _cached(self, key: tuple[object, ...], measure: Callable[[], Pass]) -> Pass:
        if key not in self._passes:
            before = self._row.sent
            self._passes[key] = replace(measure(), sends=self._row.sent - before)
        return self._passes[key]

    @torch.no_grad()
    def _forward(self, read: _Read) -> Pass:
        with Alive(self.module) as alive:
            self._output(read, alive)
        return Pass(alive.peak, 0, 0, alive.flops, alive.seeing)

    def _training(self, read: _Read, keep: bool) -> Pass:
        handles = [] if keep else [_forgetful(parameter) for parameter in _trained(self.module)]
        saved, scoring = Saved(self.module), self._scoring(read.scored)
        try:
            with Alive(self.module) as alive:
                with saved.noted():
                    loss = self._output(read, alive).sum()
                held = saved.bytes
                loss.backward()  # type: ignore[no-untyped-call]
        finally:
            for handle in handles:
                handle.remove()
            self.module.zero_grad()
        return Pass(alive.peak, held, scoring, alive.flops, alive.seeing)

    def _scoring(self, scored: int) -> int:
        hidden = torch.empty(scored, self.config.hidden_size, dtype=self._dtype, device=META, requires_grad=True)
        with Alive(self.module, hidden) as alive:
            self._scores(hidden).sum().backward()  # type: ignore[no-untyped-call]
        self.module.zero_grad()
        return int(alive.peak)

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.module.model.get_input_embeddings().weight.dtype
        return dtype

    def _output(self, read: _Read, alive: Alive) -> Tensor:
        if read.rows is not None:
            batch, shared = _batch(read.rows), read.rows.shared
            return self._scores(hidden_before_tokens(self.module.model, batch, self.module.reader, sharing=shared))
        hidden: Tensor = self.module.reader.decoder(self.module.model)(
            **self._read(read.tokens, read.asked, alive),
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=META),
            use_cache=False,
        ).last_hidden_state[0]
        return self._scores(hidden.index_select(0, torch.zeros(read.scored, dtype=torch.long, device=META)))

    def _read(self, tokens: int, asked: Sequence[Prompt], alive: Alive) -> dict[str, Any]:
        """A row of tokens as the decoder takes it: prompts with their media, answers to the last behind them."""
        if not asked:
            ids = torch.zeros(1, tokens, dtype=torch.long, device=META)
            return {"input_ids": ids, "position_ids": torch.arange(tokens, device=META)[None]}
        ids, before = torch.tensor([prompt.token_ids for prompt in asked]), alive.flops
        media = [prompt.media for prompt in asked]
        reading = self.module.reader.read_prompts(self.module.model, ids, torch.ones_like(ids, dtype=torch.bool), media)
        assert reading.perception is not None
        alive.towers_end(reading.perception.features, before)
        answers = torch.zeros(1, max(0, tokens - ids.numel()), dtype=torch.long)
        return reading.continued(answers, torch.tensor([len(asked) - 1])).inputs(torch.arange(tokens)[None])

    def _scores(self, hidden: Tensor) -> Tensor:
        """[tokens], as LanguageActor and LanguageCritic compute them from hidden states."""
        if isinstance(self.module, LanguageCritic):
            head = self.module.value_head
            return linear(hidden.float(), head.weight.float(), head.bias.float())[:, 0]
        ids = torch.zeros(len(hidden), dtype=torch.long, device=META)
        head_weight = self.module.model.get_output_embeddings().weight
        law: dict[str, Any] = {"temperature": self.module.temperature, "never": self.module.reader.placeholders}
        law["chunk_elements"] = CPU_CHUNK_ELEMENTS if self.on_host else CHUNK_ELEMENTS
        return chosen_logprobs(hidden, head_weight, ids, **law)[0]


def _batch(rows: Rows) -> Batch:
    numbers, ids = torch.zeros(rows.response_len, dtype=torch.float64), [0] * rows.response_len
    owners = (number // rows.samples for number in range(rows.answers))
    prompts = ((owner, *[0] * (rows.prompt_len - 1)) for owner in owners)
    learnt = [True] * rows.response_len
    return collate([TrainingSequence(prompt, ids, learnt, 1.0, numbers, numbers) for prompt in prompts])


def _forgetful(parameter: Tensor) -> Any:
    """Let a parameter lose each gradient as it comes, until the handle that is returned is removed."""
    return parameter.register_post_accumulate_grad_hook(_drop)  # type: ignore[no-untyped-call]


def _drop(parameter: Tensor) -> None:
    parameter.grad = None


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _within(model: Any, names: Sequence[str]) -> list[nn.Parameter]:
    """The weights of modules by their names in a whole model, of which this one may be the base model alone."""
    begins = tuple(f"{name.removeprefix(f'{model.base_model_prefix}.')}." for name in names)
    return [weight for name, weight in model.base_model.named_parameters() if f"{name}.".startswith(begins)]


def _weights(module: LanguageActor | LanguageCritic, four_bit: bool) -> Weights:
    sizes = [parameter.numel() for parameter in module.parameters()]
    try:
        inside = [sum(p.numel() for p in layer.parameters()) for layer in layers(module)]
    except ValueError:
        inside = []
    head = getattr(module.model, "get_output_embeddings", lambda: None)()
    table = module.model.get_input_embeddings().weight
    tied = head is not None and head.weight is table
    frozen = [m for m in module.modules() if fits(m, head) and not m.get_parameter("weight").requires_grad]
    adapter = module.reader.adapter
    towers = [] if adapter is None else [name for names in adapter.towers.values() for name in names]
    return Weights(
        total=sum(sizes),
        trained=sum(parameter.numel() for parameter in _trained(module)),
        layer=max(inside, default=0),
        layers=len(inside),
        outside=sum(sizes) - sum(inside),
        largest=max(sizes),
        small=sum(size for size in sizes if size <= 100_000),
        table=0 if tied else table.numel(),
        quantised=sum(layer.get_parameter("weight").numel() for layer in frozen) if four_bit else 0,
        towers=sum(weight.numel() for weight in _within(module.model, towers)),
    )
