"""What each of two ranks does for test_packing_ranks.py: a packed backward pass over sharded weights."""

from __future__ import annotations

import os
import random
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from lightrft_core import Batch, TrainingSequence, collate
from lightrft_strategy.hidden import hidden_before_tokens
from lightrft_strategy.packing import pack_attention


def a_model() -> Any:
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).train()


def a_batch(rank: int) -> Batch:
    """Other shapes on every rank."""
    rng, sequences = random.Random(rank), []
    for prompt_length, lengths in (((5, [3, 1, 6]), (2, [4])), ((9, [2, 2, 7, 5]),))[rank]:
        prompt = tuple(rng.randrange(64) for _ in range(prompt_length))
        for length in lengths:
            zeros = torch.zeros(length)
            answer = [rng.randrange(64) for _ in range(length)]
            sequences.append(TrainingSequence(prompt, answer, [True] * length, 1.0, zeros, zeros))
    return collate(sequences)


class Loss(nn.Module):
    """A sum over the hidden states before the batch's loss tokens, by a packed row."""

    def __init__(self) -> None:
        super().__init__()
        self.model = a_model()
        pack_attention(self.model)
        self.model.gradient_checkpointing_enable()

    def forward(self, batch: Batch) -> torch.Tensor:
        return hidden_before_tokens(self.model, batch, packing=True).pow(3).sum()


def expected() -> dict[str, torch.Tensor]:
    """The gradient over both ranks' batches, each sequence alone."""
    model = a_model()
    for batch in map(a_batch, range(2)):
        for row, prompt in enumerate(batch.prompt_index):
            prompt_ids = batch.prompt_ids[prompt][batch.prompt_mask[prompt]]
            answer = batch.response_ids[row][batch.loss_mask[row]]
            hidden = model.base_model(input_ids=torch.cat([prompt_ids, answer])[None]).last_hidden_state[0]
            hidden[len(prompt_ids) - 1 : -1].pow(3).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def fsdp2(loss: Loss, batch: Batch) -> dict[str, torch.Tensor]:
    from torch.distributed.fsdp import fully_shard

    for layer in loss.model.model.layers:
        fully_shard(layer)
    fully_shard(loss)
    loss(batch).backward()
    parameters = loss.model.named_parameters()
    return {name: parameter.grad.full_tensor() * 2 for name, parameter in parameters if parameter.grad is not None}


def zero3(loss: Loss, batch: Batch) -> dict[str, torch.Tensor]:
    import deepspeed
    from deepspeed.utils import safe_get_full_grad

    os.environ["LOCAL_RANK"] = str(dist.get_rank())
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "torch_adam": True}},
        "zero_optimization": {"stage": 3},
    }
    loss.model.lm_head.requires_grad_(False)
    trained = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    engine = deepspeed.initialize(model=loss, config=config, model_parameters=trained)[0]
    engine.backward(engine(batch))
    parameters = loss.model.named_parameters()
    return {name: safe_get_full_grad(parameter) * 2 for name, parameter in parameters if parameter.requires_grad}


def equal_gradients(kind: str) -> list[str]:
    """The parameters with a gradient here. Raises AssertionError where one is not the whole model's."""
    got = {"fsdp2": fsdp2, "zero3": zero3}[kind](Loss(), a_batch(dist.get_rank()))
    wanted = expected()
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            got[name], gradient, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    return list(wanted)
