"""A packed row gives every token what it has in its sequence alone: numbers, gradients, no bit of another answer."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightrft_core import Batch, TrainingSequence, collate
from lightrft_core.batching import micro_batches, padded_tokens
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.packing import flatten, pack_attention, packed_hidden
from lightrft_strategy.reading import TEXT

pytestmark = pytest.mark.usefixtures("one_thread")

Example = tuple[tuple[int, ...], list[int], list[bool]]
MIXED = [(3, [6, 1, 9]), (11, [2]), (1, [5, 5, 3, 1]), (2, [1]), (4, [1, 1])]
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 32, "experts_implementation": "eager"}
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 16},
    "Gemma": {"head_dim": 16},
    "Gemma3Text": {"head_dim": 16, "sliding_window": 4, "num_hidden_layers": 7},
    "Mistral": {"sliding_window": 4},
    "GPT2": {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "Mixtral": {"num_local_experts": 4, "experts_implementation": "eager"},
    "Qwen3Moe": {**MOE, "num_experts": 4, "head_dim": 16},
    "DeepseekV3": {
        **MOE,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 2,
        "topk_group": 1,
        "q_lora_rank": 24,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 12,
        "first_k_dense_replace": 1,
    },
}


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models compute in float64 throughout: what they hold in float32 for their norms and routers, too."""
    for name in ("float", "float32"):
        monkeypatch.setattr(torch, name, torch.float64)
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def examples(groups: list[tuple[int, list[int]]], *, masked: bool = False, seed: int = 0) -> list[Example]:
    rng = random.Random(seed)

    def ids(count: int) -> list[int]:
        return [rng.randrange(300) for _ in range(count)]

    rows = []
    for prompt_length, lengths in groups:
        prompt = tuple(ids(prompt_length))
        rows += [(prompt, ids(length), [not masked or rng.random() < 0.6 for _ in range(length)]) for length in lengths]
    return rows


def batch_of(rows: list[Example]) -> Batch:
    zeros = [torch.zeros(sum(mask)) for *_, mask in rows]
    return collate([TrainingSequence(*row, 1.0, zero, zero) for row, zero in zip(rows, zeros, strict=True)])


def actor_of(
    model: Any, *, packing: bool = True, sharing: bool = True, checkpointing: bool = False, temperature: float = 1.0
) -> LanguageActor:
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.train()
    return LanguageActor(model, temperature, packing=packing, sharing=sharing)


def one_by_one(model: nn.Module, rows: list[Example], temperature: float) -> tuple[Tensor, Tensor]:
    """Each sequence alone through the whole model, with materialised logits."""
    logprobs, entropy = [], []
    for prompt, answer, mask in rows:
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        law = (logits / temperature).log_softmax(-1)[torch.tensor(mask)]
        logprobs.append(law.gather(-1, torch.tensor(answer)[torch.tensor(mask)][:, None])[:, 0])
        entropy.append(-(law.exp() * law).sum(-1))
    return torch.cat(logprobs), torch.cat(entropy)


def gradients(model: nn.Module, outputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Of a sum that weights every number of all outputs differently."""
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(len(output), generator=generator, dtype=torch.float64) for output in outputs]
    model.zero_grad()
    sum((weight * output).sum() for weight, output in zip(weights, outputs, strict=True)).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_as_one_by_one(build: Any, rows: list[Example], tolerance: float = 1e-10, **how: Any) -> None:
    """Log-probabilities, entropies and every parameter's gradient; build() gives equal models, in float64."""
    model, plain = build(), build()
    expected = one_by_one(plain, rows, how.get("temperature", 1.0))
    output = actor_of(model, **how)(batch_of(rows))
    got = (output.logprobs, output.entropy)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.dtype == torch.float64
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
    ours, reference = gradients(model, got), gradients(plain, expected)
    assert ours.keys() == reference.keys()
    for name, gradient in reference.items():
        assert (ours[name] - gradient).norm() <= tolerance * (1 + gradient.norm()), name


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("sharing", [False, True])
@pytest.mark.parametrize("packing", [False, True])
def test_however_it_is_computed_a_batch_has_the_numbers_and_gradients_of_each_sequence_alone(
    tiny_model, packing: bool, sharing: bool, checkpointing: bool, masked: bool
) -> None:
    assert_as_one_by_one(
        lambda: tiny_model().double(),
        examples(MIXED, masked=masked),
        packing=packing,
        sharing=sharing,
        checkpointing=checkpointing,
        temperature=0.7,
    )


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("sharing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_are_exact_for_every_architecture(tiny_model, family: str, sharing: bool) -> None:
    changes = FAMILIES[family]
    assert_as_one_by_one(
        lambda: tiny_model(family=family, **changes).double(), examples(MIXED), sharing=sharing, checkpointing=True
    )


@pytest.mark.usefixtures("in_double")
@settings(max_examples=12)
@given(
    groups=st.lists(
        st.tuples(st.integers(1, 12), st.lists(st.integers(1, 9), min_size=1, max_size=5)), min_size=1, max_size=4
    ),
    seed=st.integers(0, 99),
    window=st.none() | st.integers(1, 8),
)
def test_any_mixture_of_groups_is_exact(tiny_model, groups, seed: int, window: int | None) -> None:
    def build() -> Any:
        return tiny_model(family="Mistral", sliding_window=window, num_hidden_layers=1).double()

    assert_as_one_by_one(build, examples(groups, masked=True, seed=seed))


@settings(max_examples=25)
@given(changed=st.integers(0, 10), tokens=st.integers(0, 2**32), sharing=st.booleans(), window=st.none() | st.just(3))
def test_one_answers_tokens_change_no_bit_of_anothers_log_probabilities(
    tiny_model, changed: int, tokens: int, sharing: bool, window: int | None
) -> None:
    rows = examples(MIXED)
    actor = actor_of(tiny_model(family="Mistral", sliding_window=window), sharing=sharing)
    before = actor(batch_of(rows))
    rng = random.Random(tokens)
    prompt, answer, mask = rows[changed]
    rows[changed] = (prompt, [(token + rng.randrange(1, 300)) % 300 for token in answer], mask)
    after = actor(batch_of(rows))
    own = batch_of(rows).sequence_ids == changed
    assert torch.equal(before.logprobs[~own], after.logprobs[~own])
    assert torch.equal(before.entropy[~own], after.entropy[~own])
    assert (before.logprobs[own] != after.logprobs[own]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_old_and_new_log_probabilities_of_a_micro_batch_are_equal_bit_for_bit(tiny_model, family: str) -> None:
    actor, batch = actor_of(tiny_model(family=family, **FAMILIES[family])), batch_of(examples(MIXED))
    with torch.no_grad():
        old = actor(batch).logprobs
    assert torch.equal((actor(batch).logprobs - old).exp(), torch.ones_like(old))
    actor.model.gradient_checkpointing_enable()
    actor.model.train()
    assert torch.equal(actor(batch).logprobs, old)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("sharing", [False, True])
def test_no_token_is_computed_that_no_loss_depends_on(tiny_model, sharing: bool, checkpointing: bool) -> None:
    rows = [((1, 2, 3), [4, 5, 6, 7], [True, True, False, False]), ((1, 2, 3), [8], [True]), ((9,), [1, 2], [True] * 2)]
    actor, shapes = actor_of(tiny_model(), sharing=sharing, checkpointing=checkpointing), []
    actor.model.model.layers[0].input_layernorm.register_forward_hook(
        lambda _, inputs, __: shapes.append(inputs[0].shape[:2])
    )
    actor(batch_of(rows)).logprobs.sum().backward()
    tokens = (3 + 1 + 0 if sharing else 3 + 1 + 3) + 1 + 1
    assert shapes == [(1, tokens)] * (2 if checkpointing else 1)


@pytest.mark.parametrize("sharing", [False, True])
def test_micro_batches_of_packed_rows_are_as_full_as_their_real_tokens_allow(sharing: bool) -> None:
    zeros = torch.zeros(0)
    rows = examples([(7, [3, 50, 9]), (2, [4] * 6), (31, [1, 1])])
    sequences = [TrainingSequence(prompt, answer, mask, 1.0, zeros, zeros) for prompt, answer, mask in rows]
    how = {"max_sequences": 99, "shared_prompts": sharing, "packing": True}
    plan = micro_batches(sequences, token_budget=70, **how)
    assert sorted(map(id, (s for part in plan for s in part))) == sorted(map(id, sequences))
    for part in plan:
        batch = batch_of([(s.prompt_ids, s.response_ids, s.loss_mask) for s in part])
        assert padded_tokens(part, shared=sharing, packing=True) == flatten(batch, sharing=sharing)[0].tokens + len(
            part
        )
    sizes = [padded_tokens(part, shared=sharing, packing=True) for part in plan]
    assert max(sizes) <= 70
    for part, following in pairwise(plan):
        assert padded_tokens([*part, following[0]], shared=sharing, packing=True) > 70


def test_a_batch_of_nothing_is_computed_and_every_parameter_takes_part(tiny_model) -> None:
    actor = actor_of(tiny_model())
    output = actor(collate([]))
    assert output.logprobs.shape == (0,)
    output.logprobs.sum().backward()
    assert all(not parameter.grad.any() for parameter in actor.model.parameters())


def test_gradients_are_the_same_bits_every_time(tiny_model) -> None:
    model = tiny_model(hidden_size=128)
    actor, batch = actor_of(model), batch_of(examples([(20, [30] * 16)]))
    torch.set_num_threads(2)
    first, *others = (
        [p.clone() for p in gradients(model, (actor(batch).logprobs.double(),)).values()] for _ in range(3)
    )
    torch.set_num_threads(1)
    for other in others:
        assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_a_critics_values_are_those_of_padded_rows(tiny_model) -> None:
    batch = batch_of(examples(MIXED))
    critics = [LanguageCritic(tiny_model(3), packing=packing) for packing in (True, False)]
    for critic in critics:
        nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(1))
    packed, padded = (critic(batch).values for critic in critics)
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-4)


def test_a_model_that_packs_still_computes_everything_else_as_before(tiny_model) -> None:
    ids = torch.arange(24).view(2, 12)
    mask = torch.ones_like(ids).index_fill(1, torch.tensor([0, 1]), 0)
    model, plain = (tiny_model(family="Mistral", sliding_window=4) for _ in range(2))
    pack_attention(model)
    for inputs in ({"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}):
        assert torch.equal(model(**inputs).logits, plain(**inputs).logits)
        how = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
        assert torch.equal(model.generate(**inputs, **how), plain.generate(**inputs, **how))


REFUSED = {
    "soft caps": ("Gemma2", {"head_dim": 16}, "softcap"),
    "sinks": ("GptOss", {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2}, "s_aux"),
    "convolutions": ("Lfm2", {"layer_types": ["conv", "full_attention"]}, "layers of conv"),
    "a window attention is not told of": ("Llama", {"sliding_window": 4}, "windows None and its configuration says 4"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_model_whose_attention_is_another_is_refused_by_name_and_left_as_it_was(tiny_model, why: str) -> None:
    family, changes, words = REFUSED[why]
    model = tiny_model(family=family, **changes)
    before = model.config._attn_implementation = "sdpa"
    with pytest.raises(
        ValueError, match=f"{type(model).__name__} cannot compute packed rows .*{words}.*turn packing off"
    ):
        pack_attention(model)
    assert model.config._attn_implementation == before


def test_a_model_that_lets_sequences_of_a_row_touch_each_other_is_refused(tiny_model) -> None:
    model = tiny_model()
    mlp = model.model.layers[1].mlp
    mlp.register_forward_hook(lambda _, __, out: out + out.cumsum(1))
    with pytest.raises(ValueError, match="not those of each sequence alone"):
        pack_attention(model)


def test_a_model_that_is_to_have_another_attention_is_refused(tiny_model) -> None:
    model = tiny_model(attn_implementation="eager")
    with pytest.raises(ValueError, match="LlamaForCausalLM is to have 'eager': load it without attn_implementation"):
        LanguageActor(model, packing=True)


def test_a_row_is_not_computed_by_an_attention_that_would_mix_its_answers(tiny_model) -> None:
    batch = batch_of(examples(MIXED))
    model, (row, places, _) = tiny_model(), flatten(batch)
    with pytest.raises(ValueError, match=r"call pack_attention\(model\)"):
        packed_hidden(model.base_model, row, TEXT.read(model, batch).inputs(places))


def test_what_stands_in_the_padding_changes_no_bit(tiny_model) -> None:
    rows = examples(MIXED)
    batch, dirty, actor = batch_of(rows), batch_of(rows), actor_of(tiny_model())
    for row, (_, answer, _) in enumerate(rows):
        dirty.response_ids[row, len(answer) :] = 123
    dirty.prompt_ids[~dirty.prompt_mask] = 77
    assert torch.equal(actor(batch).logprobs, actor(dirty).logprobs)
