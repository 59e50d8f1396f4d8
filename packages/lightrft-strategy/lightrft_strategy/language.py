"""A causal language model as a policy: loaded whole in float32, scored without ever materialising its logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

from lightrft_core import Batch, PolicyOutput, chosen_logprobs


class LanguageActor(nn.Module):
    """A Hugging Face causal language model that maps a Batch to a PolicyOutput.

    model: a *ForCausalLM; its logits must be its last hidden states times its head, nothing in between.
    temperature: the law log-probabilities are taken under is softmax(logits / temperature).
    """

    def __init__(self, model: Any, temperature: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        check_head(model)

    def forward(self, batch: Batch) -> PolicyOutput:
        """Log-probability and entropy of the batch's loss tokens; a prompt is computed once for all its responses."""
        shared = not self.model.is_gradient_checkpointing
        hidden = self._hidden_shared(batch) if shared else self._hidden_unshared(batch)
        head = self.model.get_output_embeddings().weight
        before, tokens = hidden[batch.loss_mask], batch.response_ids[batch.loss_mask]
        return PolicyOutput(*chosen_logprobs(before, head, tokens, temperature=self.temperature))

    def _hidden_shared(self, batch: Batch) -> Tensor:
        """[batch, response_time, dim] hidden states one position before each response token.

        The responses attend to their prompt's keys and values, which carry its gradient.
        """
        cache = DynamicCache(config=self.model.config)
        prompts = self._hidden(batch.prompt_ids, batch.prompt_mask, cache)
        copies = torch.bincount(batch.prompt_index)
        for layer in cache.layers:
            layer.batch_repeat_interleave(copies)
        last = prompts[batch.prompt_index, -1:]
        if batch.response_ids.shape[1] == 1:
            return last
        answers = self._hidden(batch.response_ids[:, :-1], batch.prompt_mask[batch.prompt_index], cache)
        return torch.cat([last, answers], 1)

    def _hidden_unshared(self, batch: Batch) -> Tensor:
        """The same without keys and values handed on, which gradient checkpointing cannot do."""
        ids = torch.cat([batch.prompt_ids[batch.prompt_index], batch.response_ids[:, :-1]], 1)
        hidden = self._hidden(ids, batch.prompt_mask[batch.prompt_index], None)
        return hidden[:, batch.prompt_ids.shape[1] - 1 :]

    def _hidden(self, ids: Tensor, prompt_mask: Tensor, cache: DynamicCache | None) -> Tensor:
        """[rows, time, dim] of ids [rows, time], the tokens after those in the cache.

        Padding on the right needs no mask: attention is causal.
        """
        past = cache.get_seq_length() if cache is not None else 0
        answer = prompt_mask.new_ones(len(ids), past + ids.shape[1] - prompt_mask.shape[1])
        real = torch.cat([prompt_mask, answer], 1)
        positions = (real.cumsum(1) - 1).clamp(min=0)[:, past:]
        return self.model.base_model(  # type: ignore[no-any-return]
            input_ids=ids,
            attention_mask=None if real.all() else real,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state


def load_language_model(
    pretrain: str | Path, *, attn_implementation: str | None = None, trust_remote_code: bool = False
) -> Any:
    """A causal language model from a folder or a hub id, in float32 and without dropout.

    Dropout would make the policy that is trained another one than the policy that was sampled.
    """
    model = AutoModelForCausalLM.from_pretrained(
        pretrain, dtype=torch.float32, attn_implementation=attn_implementation, trust_remote_code=trust_remote_code
    )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if "attention_dropout" in model.config.to_dict():
        model.config.attention_dropout = 0.0
        for module in model.modules():
            if "attention_dropout" in vars(module):
                module.attention_dropout = 0.0
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
