"""A causal language model as a policy, scored without ever materialising its logits, and as a critic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM

from lightrft_core import Batch, CriticOutput, PolicyOutput, chosen_logprobs
from lightrft_strategy.hidden import score_tokens, shares
from lightrft_strategy.packing import on_any_device, pack_attention
from lightrft_strategy.reading import TEXT, Reader
from lightrft_strategy.routing import Routers, load_balancing_loss, read_counts
from lightrft_strategy.sequence import SequenceGroup


class LanguageActor(nn.Module):
    """A Hugging Face causal language model that maps a Batch to a PolicyOutput.

    model: a *ForCausalLM; its logits must be its last hidden states times its head, nothing in between.
    temperature: the law log-probabilities are taken under is softmax(logits / temperature), placeholders aside.
    reader: how it reads prompts; whose placeholders no answer holds.
    packing, sharing: compute no padding, and a prompt once for all its answers (hidden_before_tokens).
    sequence_group: the ranks that compute each packed row together; None: each rank computes rows of its own.
    balance: where gradients are taken, tell what the imbalance of its routers costs, too (load_balancing_loss).
    Raises ValueError, naming the model, if its logits are something else or it cannot compute packed rows, or not so,
    which a model without weights (on the meta device) is not asked; and for balance with a sequence_group, where a rank
    sees the routers of a slice alone.
    """

    def __init__(
        self,
        model: Any,
        temperature: float = 1.0,
        *,
        reader: Reader = TEXT,
        packing: bool = False,
        sharing: bool = True,
        sequence_group: SequenceGroup | None = None,
        balance: bool = False,
    ) -> None:
        super().__init__()
        if balance and sequence_group is not None:
            raise ValueError(
                "the routers' balance is counted over whole rows, of which a rank of a sequence group sees a slice: "
                "leave balance or sequence_group out"
            )
        self.model = model
        self.temperature = temperature
        self.reader = reader
        self.packing, self.sharing, self.sequence_group = packing, sharing, sequence_group
        if not model.get_output_embeddings().weight.is_meta:
            check_head(model, reader)
        _prepare(model, reader, packing, sequence_group)
        self.routers = Routers(model) if balance else None

    def forward(self, batch: Batch) -> PolicyOutput:
        """Log-probability and entropy of the batch's loss tokens."""
        if self.routers is None or not torch.is_grad_enabled():
            return PolicyOutput(*self._score(batch))
        with self.routers.noting() as layers:
            logprobs, entropy = self._score(batch)
        sharing = shares(self.model, packing=self.packing, sharing=self.sharing)
        counts = read_counts(batch, packing=self.packing, sharing=sharing)
        return PolicyOutput(logprobs, entropy, load_balancing_loss(layers, counts))

    def _score(self, batch: Batch) -> tuple[Tensor, ...]:

        def score(hidden: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
            head = self.model.get_output_embeddings().weight
            return chosen_logprobs(hidden, head, tokens, temperature=self.temperature, never=self.reader.placeholders)

        return score_tokens(self.model, batch, score, **_rows(self))


class LanguageCritic(nn.Module):
    """A Hugging Face causal language model that maps a Batch to a CriticOutput: a value head in place of its own.

    The head begins at zero, so that the first values are 0 whatever the model. reader, packing, sharing,
    sequence_group: as for LanguageActor.
    """

    def __init__(
        self,
        model: Any,
        *,
        reader: Reader = TEXT,
        packing: bool = False,
        sharing: bool = True,
        sequence_group: SequenceGroup | None = None,
    ) -> None:
        super().__init__()
        self.model = reader.headless(model)
        self.reader = reader
        self.packing, self.sharing, self.sequence_group = packing, sharing, sequence_group
        _prepare(self.model, reader, packing, sequence_group)
        self.value_head = nn.Linear(model.config.get_text_config().hidden_size, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, batch: Batch) -> CriticOutput:
        """The value of the state before each loss token of the batch."""

        def score(hidden: Tensor, tokens: Tensor) -> tuple[Tensor]:
            head = self.value_head
            return (linear(hidden.float(), head.weight.float(), head.bias.float())[:, 0],)

        return CriticOutput(*score_tokens(self.model, batch, score, **_rows(self)))


def _prepare(model: Any, reader: Reader, packing: bool, sequence_group: SequenceGroup | None) -> None:
    """Let a model compute rows in this way."""
    if packing:
        pack_attention(model, reader)
    if sequence_group is not None:
        if not packing:
            raise ValueError("only packed rows can be computed by several ranks together: turn packing on")
        sequence_group.require_sliceable(model)


def _rows(scorer: LanguageActor | LanguageCritic) -> dict[str, Any]:
    names = ("reader", "packing", "sharing", "sequence_group")
    return {name: getattr(scorer, name) for name in names}


def load_language_model(
    pretrain: str | Path, *, attn_implementation: str | None = None, trust_remote_code: bool = False
) -> Any:
    """A causal language model from a folder or a hub id, in float32 and without dropout.

    Dropout would make the policy that is trained another one than the policy that was sampled.
    """
    model = AutoModelForCausalLM.from_pretrained(
        pretrain, dtype=torch.float32, attn_implementation=attn_implementation, trust_remote_code=trust_remote_code
    )
    return without_dropout(model)


def without_dropout(model: Any) -> Any:
    """The model itself, every dropout in it, of layers too, set to 0."""
    for part in [model.config, *model.modules()]:
        for name, value in vars(part).items():
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return model.eval()


@torch.no_grad()
def check_head(model: Any, reader: Reader = TEXT) -> None:
    """Raise ValueError unless logits = hidden states times head: a soft cap or a scale would make log-probs wrong.

    The model's own choice of attention is left aside: flash kernels refuse float32 and the CPU.
    """
    head, decoder = model.get_output_embeddings(), reader.decoder(model)
    ids = torch.arange(4, device=head.weight.device)[None]
    with on_any_device(decoder):
        hidden, logits = decoder(input_ids=ids, use_cache=False).last_hidden_state, model(input_ids=ids).logits
    if not torch.allclose(logits.float(), (hidden @ head.weight.T).float(), rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"{type(model).__name__} does more to its logits than multiply hidden states with its head (a soft cap, a "
            "scale or a bias); its log-probabilities cannot be computed from hidden states alone"
        )
