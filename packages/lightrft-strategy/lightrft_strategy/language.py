"""A causal language model as a policy, scored without ever materialising its logits, and as a critic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM

from lightrft_core import Batch, CriticOutput, PolicyOutput, chosen_logprobs
from lightrft_strategy.hidden import hidden_before_tokens
from lightrft_strategy.packing import pack_attention


class LanguageActor(nn.Module):
    """A Hugging Face causal language model that maps a Batch to a PolicyOutput.

    model: a *ForCausalLM; its logits must be its last hidden states times its head, nothing in between.
    temperature: the law log-probabilities are taken under is softmax(logits / temperature).
    packing, sharing: compute no padding, and a prompt once for all its answers (hidden_before_tokens).
    Raises ValueError, naming the model, if its logits are something else or it cannot compute packed rows.
    """

    def __init__(self, model: Any, temperature: float = 1.0, *, packing: bool = False, sharing: bool = True) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.packing, self.sharing = packing, sharing
        if not model.get_output_embeddings().weight.is_meta:
            check_head(model)
        if packing:
            pack_attention(model)

    def forward(self, batch: Batch) -> PolicyOutput:
        """Log-probability and entropy of the batch's loss tokens."""
        hidden = hidden_before_tokens(self.model, batch, packing=self.packing, sharing=self.sharing)
        tokens = batch.response_ids[batch.loss_mask]
        head = self.model.get_output_embeddings().weight
        return PolicyOutput(*chosen_logprobs(hidden, head, tokens, temperature=self.temperature))


class LanguageCritic(nn.Module):
    """A Hugging Face causal language model that maps a Batch to a CriticOutput: a value head in place of its own.

    The head begins at zero, so that the first values are 0 whatever the model. packing, sharing: as for LanguageActor.
    """

    def __init__(self, model: Any, *, packing: bool = False, sharing: bool = True) -> None:
        super().__init__()
        self.model = model.base_model
        self.packing, self.sharing = packing, sharing
        if packing:
            pack_attention(self.model)
        self.value_head = nn.Linear(model.config.get_text_config().hidden_size, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, batch: Batch) -> CriticOutput:
        """The value of the state before each loss token of the batch."""
        hidden = hidden_before_tokens(self.model, batch, packing=self.packing, sharing=self.sharing)
        head = self.value_head
        return CriticOutput(linear(hidden.float(), head.weight.float(), head.bias.float())[:, 0])


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
    """The model itself, every dropout in it set to 0."""
    for part in [model.config, *model.modules()]:
        for name, value in vars(part).items():
            if "dropout" in name and isinstance(value, float):
                setattr(part, name, 0.0)
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return model.eval()


@torch.no_grad()
def check_head(model: Any) -> None:
    """Raise ValueError unless logits = hidden states times head: a soft cap or a scale would make log-probs wrong."""
    head = model.get_output_embeddings()
    ids = torch.arange(4, device=head.weight.device)[None]
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    if not torch.allclose(model(input_ids=ids).logits.float(), (hidden @ head.weight.T).float(), rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"{type(model).__name__} does more to its logits than multiply hidden states with its head (a soft cap, a "
            "scale or a bias); its log-probabilities cannot be computed from hidden states alone"
        )
