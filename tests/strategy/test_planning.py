"""What is planned against what is: bytes that are really alive on the CPU, operations, cuts into micro-batches."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightrft_core import Batch, FinishReason, Group, Metrics, Prompt, Rollout, chosen_logprobs
from lightrft_core.batching import TrainingSequence, collate, micro_batches, padded_tokens
from lightrft_strategy.engines.kv_cache import RolloutCache
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.planning import GIB, KNOWN, Engine, Holding, Job, Subject, Workload, plan_memory, plan_work
from lightrft_strategy.planning.counting import Alive
from lightrft_strategy.planning.holding import Parts, keep
from lightrft_strategy.planning.subject import FOUR_BIT_BYTES
from lightrft_strategy.planning.workload import Rows
from lightrft_strategy.roofline import Roofline
from lightrft_strategy.training import OptimiserConfig, TorchStrategy

from ..saved import saved_bytes, storages

pytestmark = pytest.mark.usefixtures("one_thread")

ADAM = OptimiserConfig(learning_rate=1e-3, total_steps=3)
WORK = Workload(
    prompts=4,
    samples=4,
    prompt_len=24,
    response_len=40,
    train_batch=16,
    epochs=1,
    token_budget=400,
    most_sequences=64,
    shared=True,
    budget_len=40,
)


def checkpointed(model: Any) -> Any:
    model.gradient_checkpointing_enable()
    return model.train()


def on_meta(model: Any) -> Any:
    """A copy; moving it unties its weights."""
    moved = copy.deepcopy(model).to("meta")
    moved.tie_weights()
    return moved


def planned(model: Any, dtype: torch.dtype = torch.float32, **options: Any) -> Subject:
    return Subject(LanguageActor(on_meta(model)), dtype, **options)


def batch_of(answers: int, prompt: int, answer: int) -> Batch:
    """One prompt with equally long answers."""
    numbers = torch.zeros(answer, dtype=torch.float64)
    ids = [1 + i % 7 for i in range(answer)]
    return collate(
        [
            TrainingSequence(tuple(range(1, prompt + 1)), ids, [True] * answer, 1.0, numbers, numbers)
            for _ in range(answers)
        ]
    )


FAMILIES = [
    ("Llama", {}),
    ("Qwen2", {"num_key_value_heads": 4}),
    ("Qwen3", {"head_dim": 16}),
    ("Gemma2", {"head_dim": 16, "attn_logit_softcapping": None, "final_logit_softcapping": None}),
]


# Activations


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_what_autograd_will_keep_is_what_it_keeps_of_a_real_packed_forward(
    tiny_model, family: str, changes: dict[str, Any], recompute: bool, dtype: torch.dtype
) -> None:
    model = tiny_model(family=family, **changes)
    model = checkpointed(model) if recompute else model
    answers, prompt, answer = 6, 50, 31
    subject = planned(model, dtype)
    actor = LanguageActor(model.to(dtype), packing=True)
    real = saved_bytes(actor, lambda: actor(batch_of(answers, prompt, answer)).logprobs.sum())
    scored = answers * answer
    counted = subject.training(prompt + answers * (answer - 1), scored, keep=True).saved
    assert counted == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("keep_gradients", [False, True])
def test_the_peak_of_a_pass_is_that_of_a_real_one(tiny_model, recompute: bool, keep_gradients: bool) -> None:
    model = tiny_model(num_hidden_layers=4, vocab_size=3000)
    model = checkpointed(model) if recompute else model
    subject = planned(model)
    actor, batch = LanguageActor(model, packing=True), batch_of(6, 50, 31)
    if not keep_gradients:
        for parameter in actor.parameters():
            parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
    with Alive(actor) as alive:
        actor(batch).logprobs.sum().backward()
    counted = subject.training(50 + 6 * 30, 6 * 31, keep=keep_gradients).peak
    assert counted == pytest.approx(alive.peak, rel=0.05)


def test_on_the_cpu_as_few_logits_are_counted_as_a_processor_holds_at_once(tiny_model) -> None:
    model, tokens = tiny_model(vocab_size=16384), 1024
    hidden = torch.randn(tokens, model.config.hidden_size, requires_grad=True)
    head, ids = model.get_output_embeddings().weight, torch.zeros(tokens, dtype=torch.long)
    with Alive(model, hidden) as alive:
        chosen_logprobs(hidden, head, ids)[0].sum().backward()
    here, elsewhere = (planned(model, on_host=on_host).training(tokens, tokens, keep=True) for on_host in (True, False))
    assert here.scoring == pytest.approx(alive.peak, rel=0.02)
    assert elsewhere.scoring > 4 * here.scoring


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_padded_rows_are_counted_with_their_copies_of_a_prompts_keys_and_values(
    tiny_model, dtype: torch.dtype, recompute: bool
) -> None:
    model, answers, prompt, answer = tiny_model(num_attention_heads=8, num_key_value_heads=2), 6, 50, 31
    model = checkpointed(model) if recompute else model
    subject = planned(model, dtype)
    actor = LanguageActor(model.to(dtype))
    batch = batch_of(answers, prompt, answer)
    real = saved_bytes(actor, lambda: actor(batch).logprobs.sum())
    with Alive(actor) as alive:
        actor(batch).logprobs.sum().backward()
    rows = Rows(answers, answer, answers, prompt, shared=not recompute)
    counted = subject.training(prompt + answers * answer, answers * answer, rows=rows, keep=True)
    assert counted.saved == pytest.approx(real, rel=0.02)
    assert counted.peak == pytest.approx(alive.peak, rel=0.05)


def test_recomputing_activations_saves_most_of_them(tiny_model) -> None:
    plain = planned(tiny_model(num_hidden_layers=8)).training(512, 400, keep=False)
    again = planned(checkpointed(tiny_model(num_hidden_layers=8))).training(512, 400, keep=False)
    assert again.saved < plain.saved / 4
    assert again.peak < plain.peak / 2


def test_activations_grow_with_tokens_in_proportion(tiny_model) -> None:
    subject = planned(tiny_model())
    one, two, three = (subject.training(tokens, tokens, keep=False).saved for tokens in (300, 600, 900))
    assert two - one == three - two > 0


def test_counting_leaves_no_gradient_and_repeats_itself(tiny_model) -> None:
    subject = planned(tiny_model())
    first = subject.training(64, 40, keep=True)
    assert all(parameter.grad is None for parameter in subject.module.parameters())
    assert planned(tiny_model()).training(64, 40, keep=True) == first


def test_a_critic_is_counted_with_its_value_head(tiny_model) -> None:
    model = tiny_model()
    subject = Subject(LanguageCritic(on_meta(model)), torch.float32)
    critic = LanguageCritic(model, packing=True)
    real = saved_bytes(critic, lambda: critic(batch_of(6, 50, 31)).values.sum())
    assert subject.training(50 + 6 * 30, 6 * 31, keep=True).saved == pytest.approx(real, rel=0.02)
    assert subject.weights.total == sum(parameter.numel() for parameter in critic.parameters())


# Operations


def test_operations_are_two_a_weight_and_token_forward_and_six_with_the_backward_pass(tiny_model) -> None:
    model = tiny_model(tie_word_embeddings=False)
    table = model.get_input_embeddings().weight.numel()
    used = sum(p.numel() for p in model.parameters() if p.ndim == 2) - table
    subject, head = planned(model), model.get_output_embeddings().weight.numel()
    entropy = 2 * 128 * model.config.vocab_size  # of a token: one product with its probabilities
    assert subject.forward(128, 128).flops == 2 * used * 128 + entropy
    # The head's logits are computed once more in the backward pass.
    assert subject.training(128, 128, keep=True).flops == 6 * used * 128 + 2 * head * 128 + entropy
    again = planned(checkpointed(model)).training(128, 128, keep=True).flops
    last = 2 * 64 * 96  # the product that ends each of two layers is not computed again: nothing asks for its result
    assert again == (8 * used - 2 * last) * 128 + entropy


def test_operations_of_attention_are_those_of_scores_and_weighed_values(tiny_model) -> None:
    subject, (heads, length, width) = planned(tiny_model()), (4, 64, 16)
    states = torch.zeros(1, heads, length, width)
    with FlopCounterMode(display=False) as counter:
        (states @ states.transpose(-1, -2)).softmax(-1) @ states
    assert subject.attention_flops * length * length == 2 * counter.get_total_flops(), "of two layers"


# What is kept


def held_tensors(strategy: TorchStrategy) -> list[Tensor]:
    tensors: list[Tensor] = []
    for held in strategy.held.values():
        tensors += held.module.parameters()
        tensors += getattr(held, "masters", {}).values()
        if held.config is not None:
            tensors += [t for state in held.adam.state.values() for t in state.values() if t.ndim]
    return tensors


def held_bytes(strategy: TorchStrategy) -> int:
    """Of all tensors that a strategy keeps, each piece of memory once."""
    return sum(storages(*held_tensors(strategy)).values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_a_strategy_keeps_the_bytes_that_were_planned_to_the_last(tiny_model, bf16: bool, tied: bool) -> None:
    model = tiny_model(tie_word_embeddings=tied)
    dtype, parts = torch.bfloat16 if bf16 else torch.float32, Parts()
    critic = Subject(LanguageCritic(on_meta(model)), dtype)
    for name, subject in {
        "policy": planned(model, dtype),
        "reference": planned(model, dtype),
        "critic": critic,
    }.items():
        keep(subject, Holding(), learns=name != "reference", name=name, parts=parts)
    models = {
        "policy": LanguageActor(copy.deepcopy(model)),
        "reference": LanguageActor(copy.deepcopy(model)),
        "critic": LanguageCritic(copy.deepcopy(model)),
    }
    strategy = TorchStrategy(models, {"policy": ADAM, "critic": ADAM}, bf16=bf16)
    assert parts.total == held_bytes(strategy)
    assert ("policy masters (float32)" in parts.device) == bf16


def test_an_average_of_the_weights_is_planned_for_and_for_the_policy_alone(tiny_model) -> None:
    model, parts, without = tiny_model(), Parts(), Parts()
    for holding, kept in ((Holding(average=True), parts), (Holding(), without)):
        keep(planned(model, torch.bfloat16), holding, learns=True, name="policy", parts=kept)
        keep(planned(model, torch.bfloat16), holding, learns=True, name="other", parts=kept)
    models = {name: LanguageActor(copy.deepcopy(model)) for name in ("policy", "other")}
    strategy = TorchStrategy(models, {"policy": ADAM, "other": ADAM}, bf16=True, averages={"policy": 0.9})
    average = sum(shard.nbytes for shard in strategy.averages["policy"].shards)
    assert parts.total - without.total == average == parts.device["policy average (float32)"]


def test_what_is_frozen_has_no_masters_and_no_moments(tiny_model) -> None:
    model = tiny_model()
    model.model.layers[0].requires_grad_(False)
    parts = Parts()
    keep(planned(model, torch.bfloat16), Holding(), learns=True, name="policy", parts=parts)
    strategy = TorchStrategy({"policy": LanguageActor(model)}, {"policy": ADAM}, bf16=True)
    assert parts.total == held_bytes(strategy)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("batches", [1, 3])
def test_an_optimiser_steps_peak_is_that_of_a_real_one(tiny_model, bf16: bool, batches: int) -> None:
    model = tiny_model(num_hidden_layers=4, vocab_size=3000, hidden_size=128)
    dtype = torch.bfloat16 if bf16 else torch.float32
    work = replace(WORK, train_batch=4 * batches, prompts=batches, token_budget=WORK.prompt_len + 4 * WORK.response_len)
    job = Job(planned(model, dtype), Holding(), Engine(), work, memory=1e12, runtime=0)
    (phase,) = (phase for phase in plan_memory(job) if phase.name == "optimise")
    strategy = TorchStrategy({"policy": LanguageActor(model, packing=True)}, {"policy": ADAM}, bf16=bf16)
    real_batches = [batch_of(4, WORK.prompt_len, WORK.response_len) for _ in range(batches)]
    with Alive(*held_tensors(strategy)) as alive:
        strategy.train_step("policy", real_batches, lambda output, batch: (output.logprobs.mean(), Metrics()))
    real = held_bytes(strategy) + alive.peak
    assert phase.total == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("copied", [False, True])
def test_the_embedded_engines_cache_is_the_one_it_allocates(tiny_model, monkeypatch, copied: bool) -> None:
    monkeypatch.setattr("lightrft_strategy.engines.kv_cache.COPIED_BYTES", 16 * 24 * 512 - (not copied))
    model = tiny_model()
    job = Job(planned(model), Holding(), Engine(), WORK, memory=1e12, runtime=0)
    (phase,) = (phase for phase in plan_memory(job) if phase.name == "sample")
    room = {"rows": 16, "prompts": 4, "prompt_time": 24, "answer_time": 40}
    cache = RolloutCache(**room, device=torch.device("cpu"), copied=copied)
    states = [(torch.zeros(4, 2, 24, 16), torch.zeros(4, 2, 24, 16)) for _ in range(2)]
    cache.admit(states, torch.full((4,), 24), torch.full((4,), 24), 4)
    real = storages(*chain.from_iterable(chain(cache._prompts, cache._answers)))
    assert phase.parts["keys and values"] == sum(real.values())


def test_on_the_cpu_sampling_in_bfloat16_takes_a_copy_of_every_linear_layer_and_of_nothing_else(tiny_model) -> None:
    model = tiny_model()
    linear = sum(part.weight.numel() for part in model.modules() if isinstance(part, nn.Linear))

    def copied(dtype: torch.dtype, *, on_host: bool) -> int:
        job = Job(planned(tiny_model(), dtype), Holding(), Engine(), WORK, memory=1e12, runtime=0, on_host=on_host)
        phases = {phase.name: phase.parts for phase in plan_memory(job)}
        assert "weights laid out for decoding" not in phases["optimise"]
        return phases["sample"].get("weights laid out for decoding", 0)

    assert copied(torch.bfloat16, on_host=True) == pytest.approx(2 * linear, rel=0.02)
    assert copied(torch.float32, on_host=True) == copied(torch.bfloat16, on_host=False) == 0


# Shards


def totals(subject: Subject, holding: Holding) -> tuple[int, int]:
    parts = Parts()
    keep(subject, holding, learns=True, name="policy", parts=parts)
    return parts.total, sum(parts.host.values())


@pytest.mark.parametrize(
    ("holding", "numbers"),
    [
        # Bytes a weight, in bfloat16: weights, masters and moments (Rajbhandari et al. 2020, section 3, without sums).
        (Holding(), 2 + 4 + 8),
        (Holding("fsdp", ranks=4), (4 + 8) / 4),
        # ZeRO 1 also keeps sums of all gradients, ZeRO 2 a buffer to collect them in.
        (Holding("zero", ranks=4, stage=1, lazy=True), 2 + (4 + 8) / 4 + 4),
        (Holding("zero", ranks=4, stage=2, lazy=True), 2 + (4 + 8) / 4 + 2),
    ],
)
def test_each_holding_keeps_its_bytes_a_weight(tiny_model, holding: Holding, numbers: float) -> None:
    subject = planned(tiny_model(), torch.bfloat16)
    assert totals(subject, holding)[0] == pytest.approx(numbers * subject.weights.total, rel=1e-6)


def test_offloading_moves_shards_to_the_host_and_loses_none(tiny_model) -> None:
    subject = planned(tiny_model(), torch.bfloat16)
    for kind, stage in (("fsdp", 0), ("zero", 3)):
        here = Holding(kind, ranks=2, stage=stage, lazy=True)
        there = replace(here, offload=True)
        (device, none), (left, moved) = totals(subject, here), totals(subject, there)
        assert none == 0 < moved
        assert left + moved == device


def test_more_ranks_never_need_more_of_a_device_where_models_are_in_shards(tiny_model) -> None:
    subject = planned(tiny_model(), torch.bfloat16)
    for kind, stage in (("fsdp", 0), ("zero", 3)):
        job = Job(subject, Holding(kind, stage=stage), Engine(), WORK, memory=1e12, runtime=0)
        needs = [
            [phase.total for phase in plan_memory(replace(job, holding=replace(job.holding, ranks=ranks)))]
            for ranks in (1, 2, 4)
        ]
        assert all(more >= less for few, many in pairwise(needs) for more, less in zip(few, many, strict=True))


def test_four_bits_a_weight_are_counted_for_linear_layers_alone(tiny_model) -> None:
    model = tiny_model().requires_grad_(False)
    linears = sum(p.numel() for name, p in model.named_parameters() if "proj" in name and p.shape[1] % 64 == 0)
    whole, small = planned(model, torch.bfloat16), planned(model, torch.bfloat16, four_bit=True)
    saved = whole.weights.bytes(2) - small.weights.bytes(2)
    assert saved == pytest.approx((2 - FOUR_BIT_BYTES) * linears, abs=1)


# Slices of layers


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_a_slice_has_its_share_of_what_the_models_plan_slices_and_all_else_whole(
    tiny_model, family: str, changes: dict[str, Any]
) -> None:
    model = tiny_model(family=family, **changes)
    subject = planned(model)
    part, whole = subject.slice(2).weights, subject.weights
    matrices = sum(p.numel() for name, p in model.named_parameters() if "_proj" in name)
    assert whole.total - part.total == matrices / 2
    assert whole.layers * (whole.layer - part.layer) == matrices / 2
    assert (part.outside, part.table, part.largest) == (whole.outside, whole.table, whole.largest)
    assert subject.slice(2).attention_flops == subject.attention_flops / 2
    assert subject.slice(1) is subject


def test_slices_share_the_products_of_layers_and_each_computes_the_head(tiny_model) -> None:
    model = tiny_model()
    subject = planned(model)
    whole, part = (one.training(128, 100, keep=True) for one in (subject, subject.slice(2)))
    matrices = sum(p.numel() for name, p in model.named_parameters() if "_proj" in name)
    assert whole.flops - part.flops == 6 * 128 * matrices / 2
    assert part.scoring == whole.scoring
    assert part.saved < whole.saved


@pytest.mark.parametrize("size", [2, 4])
def test_sums_are_two_a_layer_forward_and_one_for_each_of_a_blocks_first_matrices_backward(
    tiny_model, size: int
) -> None:
    model = tiny_model(num_hidden_layers=3, num_key_value_heads=4)
    ring = 3 * 2 * (size - 1) / size * 128 * model.config.hidden_size * 2
    part = planned(model, torch.bfloat16).slice(size)
    assert part.forward(128, 100).sends == 2 * ring
    assert part.training(128, 100, keep=True).sends == (2 + 5) * ring
    again = planned(checkpointed(model), torch.bfloat16).slice(size)
    # The product that ends a layer is not computed again: nothing asks for its result.
    assert again.training(128, 100, keep=True).sends == (2 + 1 + 5) * ring


def test_ranks_in_rows_send_sums_besides_what_those_with_the_same_slices_share(tiny_model) -> None:
    subject = planned(tiny_model(), torch.bfloat16)
    job = Job(subject, Holding("fsdp", ranks=8, tp=2), Engine(), replace(WORK, tp=2), memory=1e12, runtime=0)
    part, work, largest = subject.slice(2), job.work, job.work.largest(8)
    summed = part.training(largest.tokens, largest.scored, keep=False).sends
    shared = work.micro_batches(8) * 3 / 4 * part.weights.total * (2 + 2 + 4)
    sends = plan_work(job, None)
    assert sends["optimise"].sends == pytest.approx(shared + summed * work.computed(8) / largest.tokens)
    apart = 2 * (subject.weights.total - part.weights.total)
    assert sends["publish"].sends == pytest.approx(3 / 4 * 2 * part.weights.total + apart)
    zero = replace(job, holding=Holding("zero", ranks=8, stage=2, tp=2))
    assert plan_work(zero, None)["publish"].sends == apart
    copied = {phase.name: phase.parts for phase in plan_memory(zero)}["sample"]["whole copy to sample from"]
    assert copied == 2 * subject.weights.total


# Engines beside


def test_an_engine_beside_takes_its_share_awake_and_little_asleep(tiny_model) -> None:
    engine = Engine("beside", rows=8, mem_util=0.5)
    job = Job(planned(tiny_model()), Holding(), engine, WORK, memory=40 * GIB, runtime=0)
    phases = {phase.name: phase for phase in plan_memory(job)}
    assert phases["sample"].parts["engine, awake"] == phases["publish"].parts["engine, awake"] == 20 * GIB
    assert phases["optimise"].parts["engine, asleep"] == phases["estimate"].parts["engine, asleep"] < 2 * GIB
    awake = {phase.name: phase for phase in plan_memory(replace(job, engine=replace(engine, sleeps=False)))}
    assert awake["optimise"].parts["engine, awake"] == 20 * GIB


def test_an_engine_whose_share_holds_no_answer_does_not_fit(tiny_model) -> None:
    job = Job(planned(tiny_model()), Holding(), Engine("beside", rows=8, mem_util=0.1), WORK, memory=2 * GIB, runtime=0)
    sample, *others = plan_memory(job)
    assert sample.lacks > 0
    assert "share" in sample.why
    assert [phase.lacks for phase in others[:2]] == [0, 0]


# Time


def test_decoding_reads_what_the_roofline_of_a_real_run_says(tiny_model) -> None:
    model = tiny_model(tie_word_embeddings=False)
    job = Job(planned(model), Holding(), Engine(), WORK, memory=1e12, runtime=0)
    answers = [Rollout(i, [1] * 40, [-1.0] * 40, [True] * 40, FinishReason.STOP, "") for i in range(4)]
    groups = [Group(Prompt(f"{i}", (), "", (1,) * 24), answers) for i in range(4)]
    roofline = replace(Roofline.of(model), bandwidth=1.0)
    assert plan_work(job, None)["sample"].reads == pytest.approx(roofline.utilisation(groups, 1.0), rel=1e-9)


def test_times_follow_the_rates_and_are_absent_without_them(tiny_model) -> None:
    job = Job(planned(tiny_model()), Holding(), Engine(), WORK, memory=1e12, runtime=0)
    fast = replace(KNOWN["H100"], flops=2 * KNOWN["H100"].flops, bandwidth=2 * KNOWN["H100"].bandwidth)
    slow, quick, none = (plan_work(job, device) for device in (KNOWN["H100"], fast, None))
    for phase in ("sample", "optimise"):
        assert slow[phase].seconds == pytest.approx(2 * quick[phase].seconds)
        assert none[phase].seconds is None


def test_bytes_sent_are_none_alone_and_those_of_a_ring_among_several(tiny_model) -> None:
    subject = planned(tiny_model(), torch.bfloat16)
    job = Job(subject, Holding(), Engine(), WORK, memory=1e12, runtime=0)
    assert plan_work(job, None)["optimise"].sends == 0
    four = replace(job, holding=Holding(ranks=4))
    assert plan_work(four, None)["optimise"].sends == pytest.approx(2 * 3 / 4 * 4 * subject.weights.total)
    shards = replace(job, holding=Holding("fsdp", ranks=4))
    batches, part = WORK.micro_batches(4), 3 / 4 * subject.weights.total
    assert plan_work(shards, None)["optimise"].sends == pytest.approx(batches * part * (2 + 2 + 4))


# The cut into micro-batches


@given(
    st.builds(
        Workload,
        prompts=st.integers(1, 6),
        samples=st.integers(1, 5),
        prompt_len=st.integers(1, 30),
        response_len=st.integers(1, 30),
        train_batch=st.integers(1, 30),
        epochs=st.just(1),
        token_budget=st.integers(1, 300),
        most_sequences=st.integers(1, 40),
        shared=st.booleans(),
        budget_len=st.just(30),
    )
)
def test_micro_batches_are_those_the_trainer_cuts(work: Workload) -> None:
    nothing = torch.zeros(work.response_len)
    sequences = [
        TrainingSequence(
            (prompt,) * work.prompt_len, [1] * work.response_len, [True] * work.response_len, 1.0, nothing, nothing
        )
        for prompt in range(work.prompts)
        for _ in range(work.samples)
    ][: work.sequences(1)]
    cut = micro_batches(
        sequences,
        token_budget=work.token_budget,
        max_sequences=work.most_sequences,
        shared_prompts=work.shared,
        packing=True,
    )
    usual = work.micro_batch(1)
    assert len(cut[0]) == usual.sequences
    assert padded_tokens(cut[0], shared=work.shared, packing=True) == usual.tokens
    largest = max(padded_tokens(part, shared=work.shared, packing=True) for part in cut)
    assert work.largest(1).tokens >= usual.tokens
    if not work.shared:
        assert work.micro_batches(1) == len(cut)
        assert largest == usual.tokens


def test_ranks_that_share_rows_hold_a_slice_of_the_micro_batches_of_fewer_learners() -> None:
    sliced = replace(WORK, slices=2, response_len=41)
    whole = replace(sliced, slices=1)
    assert sliced.micro_batches(8) == whole.micro_batches(4)
    assert sliced.micro_batch(8).tokens == -(-whole.micro_batch(4).tokens // 2)
    assert sliced.largest(8).tokens == -(-whole.largest(4).tokens // 2)
    assert sliced.attended(8) == whole.attended(4) / 2
    assert sliced.computed(8) == pytest.approx(whole.computed(4) / 2, rel=0.01)
    assert sliced.answers(8) == whole.answers(8), "all sample"
    layers = replace(whole, tp=2)
    assert layers.largest(8) == whole.largest(4)
    assert layers.attended(8) == whole.attended(4)
    assert replace(sliced, tp=2).micro_batch(8) == sliced.micro_batch(4)
    assert layers.answers(8) == whole.answers(8), "all sample"
