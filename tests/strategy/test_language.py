"""A language model as a policy: shared prompts, padding and checkpointing never show in its numbers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lightrft_core import Batch, TrainingSequence, collate
from lightrft_strategy.language import LanguageActor, load_language_model

pytestmark = pytest.mark.usefixtures("one_thread")

Example = tuple[tuple[int, ...], list[int], list[bool]]
SHAPES = {
    "one group": [(5, [4, 2, 7])],
    "unequal prompts, answers and numbers of answers": [(3, [6, 1, 9]), (11, [2]), (1, [5, 5, 3, 1])],
    "answers of one token": [(4, [1, 1]), (2, [1])],
    "one token after one token": [(1, [1])],
}


def examples(shape: str, *, masked: bool = False) -> list[Example]:
    rng = random.Random(shape)

    def ids(count: int) -> list[int]:
        return [rng.randrange(300) for _ in range(count)]

    rows = []
    for prompt_length, lengths in SHAPES[shape]:
        prompt = tuple(ids(prompt_length))
        for length in lengths:
            mask = [not masked or rng.random() < 0.6 for _ in range(length - 1)]
            rows.append((prompt, ids(length), [*mask, True]))
    return rows


def batch_of(rows: list[Example]) -> Batch:
    zeros = [torch.zeros(sum(mask)) for *_, mask in rows]
    return collate([TrainingSequence(*row, 1.0, zero, zero) for row, zero in zip(rows, zeros, strict=True)])


def naive(model: nn.Module, rows: list[Example], temperature: float) -> tuple[Tensor, Tensor]:
    """Each sequence alone through the whole model, with materialised logits."""
    logprobs, entropy = [], []
    for prompt, answer, mask in rows:
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        law = (logits / temperature).log_softmax(-1)[torch.tensor(mask)]
        logprobs.append(law.gather(-1, torch.tensor(answer)[torch.tensor(mask)][:, None])[:, 0])
        entropy.append(-(law.exp() * law).sum(-1))
    return torch.cat(logprobs), torch.cat(entropy)


def gradients(model: nn.Module, outputs: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Of a sum that weights every number of both outputs differently."""
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(len(output), generator=generator, dtype=torch.float64) for output in outputs]
    model.zero_grad()
    sum((weight.to(output) * output).sum() for weight, output in zip(weights, outputs, strict=True)).backward()
    return {name: parameter.grad.double() for name, parameter in model.named_parameters()}


def assert_close_to_double(model: nn.Module, batch: Batch, rows: list[Example], temperature: float = 1.0) -> None:
    """Values within 1e-4 and gradients within 1e-4 of their size, of the naive forward pass in float64."""
    output = LanguageActor(model, temperature)(batch)
    mine = (output.logprobs, output.entropy)
    got = gradients(model, mine)
    double = type(model)(model.config).double().eval()
    double.load_state_dict(model.state_dict())
    reference = naive(double, rows, temperature)
    for one, other in zip(mine, reference, strict=True):
        assert (one.detach().double() - other.detach()).abs().max() < 1e-4
    exact = gradients(double, reference)
    whole = torch.stack([gradient.norm() for gradient in exact.values()]).norm()
    assert whole > 0
    for name, expected in exact.items():
        assert (got[name] - expected).norm() < 1e-4 * expected.norm() + 1e-6 * whole, name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_a_shared_prompt_gives_the_numbers_and_gradients_of_whole_sequences(tiny_model, shape, masked) -> None:
    rows = examples(shape, masked=masked)
    assert_close_to_double(tiny_model(), batch_of(rows), rows)


@pytest.mark.parametrize("shape", SHAPES)
def test_whole_sequences_under_gradient_checkpointing_give_the_same(tiny_model, shape) -> None:
    rows, model = examples(shape), tiny_model()
    model.gradient_checkpointing_enable()
    model.train()
    assert_close_to_double(model, batch_of(rows), rows)


def test_gradient_checkpointing_really_computes_activations_twice(tiny_model) -> None:
    model, calls = tiny_model(), []
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    actor, batch = LanguageActor(model), batch_of(examples("one group"))
    calls.clear()
    model.gradient_checkpointing_enable()
    model.train()
    actor(batch).logprobs.sum().backward()
    assert len(calls) == 2


def test_log_probabilities_are_taken_under_the_temperature(tiny_model) -> None:
    rows = examples("one group")
    assert_close_to_double(tiny_model(), batch_of(rows), rows, temperature=0.6)


@pytest.mark.parametrize("tied", [False, True])
def test_a_head_tied_to_the_embedding_gets_both_gradients(tiny_model, tied: bool) -> None:
    rows = examples("one group")
    assert_close_to_double(tiny_model(tie_word_embeddings=tied), batch_of(rows), rows)


def test_a_model_with_a_sliding_window_is_scored_through_its_window(tiny_model) -> None:
    model = tiny_model(family="Mistral", sliding_window=4)
    rows = examples("unequal prompts, answers and numbers of answers")
    assert_close_to_double(model, batch_of(rows), rows)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_model_with_absolute_positions_counts_them_from_each_prompts_first_token(tiny_model, checkpointing) -> None:
    model = tiny_model(family="GPT2")
    if checkpointing:
        model.gradient_checkpointing_enable()
    rows = examples("unequal prompts, answers and numbers of answers")
    assert_close_to_double(model, batch_of(rows), rows)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_stands_in_the_padding_changes_no_bit(tiny_model, checkpointing: bool) -> None:
    batch = batch_of(examples("unequal prompts, answers and numbers of answers"))
    model = tiny_model()
    if checkpointing:
        model.gradient_checkpointing_enable()
    actor = LanguageActor(model)
    clean = actor(batch)
    lengths = [length for _, lengths in SHAPES["unequal prompts, answers and numbers of answers"] for length in lengths]
    for row, length in enumerate(lengths):
        batch.response_ids[row, length:] = 123
    batch.prompt_ids[~batch.prompt_mask] = 77
    dirty = actor(batch)
    assert torch.equal(clean.logprobs, dirty.logprobs)
    assert torch.equal(clean.entropy, dirty.entropy)


def test_a_policy_computes_the_same_with_and_without_gradient(tiny_model) -> None:
    actor, batch = LanguageActor(tiny_model()), batch_of(examples("one group"))
    with torch.no_grad():
        without = actor(batch)
    assert torch.equal(without.logprobs, actor(batch).logprobs)


@pytest.mark.parametrize("capped", [True, False])
def test_a_model_that_does_more_than_multiply_with_its_head_is_refused(tiny_model, capped: bool) -> None:
    cap = 5.0 if capped else None
    model = tiny_model(family="Gemma2", head_dim=16, final_logit_softcapping=cap)
    if capped:
        with pytest.raises(ValueError, match="Gemma2ForCausalLM does more to its logits"):
            LanguageActor(model)
    else:
        LanguageActor(model)


class RefusesFloat32:
    """An attention that computes in bfloat16 alone, as flash kernels do."""

    def __call__(self, module: nn.Module, query: Tensor, *rest: Any, **named: Any) -> Any:
        if query.dtype != torch.bfloat16:
            raise RuntimeError(f"only bfloat16 is computed, not {query.dtype}")
        return sdpa_attention_forward(module, query, *rest, **named)


def test_a_head_is_looked_at_whatever_kernel_the_model_is_to_attend_by(tiny_model) -> None:
    AttentionInterface.register("refuses_float32", RefusesFloat32())
    AttentionMaskInterface.register("refuses_float32", sdpa_mask)
    model = tiny_model(attn_implementation="refuses_float32")
    actor, batch = LanguageActor(model), batch_of(examples("one group"))
    with pytest.raises(RuntimeError, match="only bfloat16 is computed"):
        actor(batch)
    assert actor.to(torch.bfloat16)(batch).logprobs.isfinite().all(), "it still attends by that kernel"


def test_a_loaded_model_is_in_float32_and_without_dropout_even_in_training_mode(tiny_model, tmp_path: Path) -> None:
    tiny_model(attention_dropout=0.5).bfloat16().save_pretrained(tmp_path)
    model = load_language_model(tmp_path)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    ids = torch.arange(20)[None]
    calm = model(input_ids=ids).logits
    assert torch.equal(model.train()(input_ids=ids).logits, calm)


def test_dropout_modules_are_silenced_too(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=2, bos_token_id=None, eos_token_id=None)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    model = load_language_model(tmp_path)
    ids = torch.arange(20)[None]
    calm = model(input_ids=ids).logits
    assert torch.equal(model.train()(input_ids=ids).logits, calm)
