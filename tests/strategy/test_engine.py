"""The embedded engine: what it records is what a full forward pass says, and nothing but its key decides an answer."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lightrft_core import FinishReason, FirstToken, Group, Prompt, SamplingParams
from lightrft_strategy.engines import embedded
from lightrft_strategy.engines.embedded import EmbeddedEngine

pytestmark = pytest.mark.usefixtures("one_thread")

EOS = (7, 31, 88, 200, 251, 299)
SAMPLING = SamplingParams(max_new_tokens=40, n=3)


def words(rows: list[list[int]]) -> list[str]:
    return [" ".join(map(str, row)) for row in rows]


@pytest.fixture(scope="module")
def model(tiny_model) -> Any:
    return tiny_model(2, initializer_range=0.15)


@pytest.fixture(scope="module")
def engine(model) -> EmbeddedEngine:
    return EmbeddedEngine(model, words, eos_token_ids=EOS, seed=11)


def prompts(*lengths: int) -> list[Prompt]:
    rng = random.Random(3)
    return [
        Prompt(f"row{i}", (), "", tuple(rng.randrange(300) for _ in range(length))) for i, length in enumerate(lengths)
    ]


MIXED = prompts(5, 12, 1, 12, 8)


def answers(groups: list[Group]) -> dict[str, list[tuple[list[int], FinishReason]]]:
    return {g.prompt.uid: [(r.token_ids, r.finish_reason) for r in g.rollouts] for g in groups}


def full_logits(model: Any, prompt: Prompt, token_ids: list[int]) -> torch.Tensor:
    """[answer, vocab] in float64, from one forward pass over the whole sequence without a cache."""
    with torch.no_grad():
        ids = torch.tensor([[*prompt.token_ids, *token_ids]], device=model.device)
        return model(input_ids=ids, use_cache=False).logits[0, len(prompt.token_ids) - 1 : -1].double().cpu()


def recorded(groups: list[Group]) -> list[tuple[Prompt, list[int], list[float]]]:
    return [(group.prompt, r.token_ids, r.logprobs) for group in groups for r in group.rollouts]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_recorded_log_probabilities_are_those_of_a_full_forward_pass(engine, model, temperature) -> None:
    groups = engine.generate(MIXED, replace(SAMPLING, temperature=temperature), step=1)
    assert len({len(token_ids) for _, token_ids, _ in recorded(groups)}) > 5, "lengths must differ to mean anything"
    for prompt, token_ids, logprobs in recorded(groups):
        law = (full_logits(model, prompt, token_ids) / temperature).log_softmax(-1)
        expected = law.gather(-1, torch.tensor(token_ids)[:, None])[:, 0]
        assert (torch.tensor(logprobs, dtype=torch.float64) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    "law", [{"top_p": 0.7}, {"top_k": 4}, {"top_k": 20, "top_p": 0.9, "temperature": 0.8}], ids=str
)
def test_under_truncation_the_recorded_law_is_the_renormalised_one(engine, model, law) -> None:
    sampling = replace(SAMPLING, **law)
    for prompt, token_ids, logprobs in recorded(engine.generate(MIXED, sampling, step=1)):
        for logits, token, logprob in zip(full_logits(model, prompt, token_ids), token_ids, logprobs, strict=True):
            p = np.exp((logits - logits.max()).numpy() / sampling.temperature)
            order = np.argsort(-p)[: sampling.top_k or None]
            kept, mass = [], 0.0
            for candidate in order:
                kept.append(candidate)
                mass += p[candidate] / p[order].sum()
                if mass >= sampling.top_p:
                    break
            assert token in kept
            assert logprob == pytest.approx(np.log(p[token] / p[kept].sum()), abs=1e-4)


@pytest.mark.parametrize("lengths", [(6,), (9, 4, 9, 2)])
def test_greedy_answers_are_those_of_transformers_token_for_token(engine, model, lengths) -> None:
    ours = engine.generate(prompts(*lengths), SamplingParams(temperature=0, max_new_tokens=50), step=1)
    ended = 0
    for group in ours:
        ids = torch.tensor([group.prompt.token_ids], device=model.device)
        theirs = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=50,
            eos_token_id=list(EOS),
            pad_token_id=0,
        )[0, ids.shape[1] :]
        assert group.rollouts[0].token_ids == theirs.tolist()
        ended += group.rollouts[0].finish_reason is FinishReason.STOP
    assert len(lengths) == 1 or ended, "at least one answer must end by itself"


@pytest.mark.parametrize("sampling", [SAMPLING, replace(SAMPLING, stop_token_ids=(50, 51, 52, 53))])
def test_an_answer_ends_with_the_first_stop_token_or_with_the_budget(engine, sampling) -> None:
    stops = {*EOS, *sampling.stop_token_ids}
    ends = set()
    for group in engine.generate(MIXED, replace(sampling, n=8), step=2):
        for rollout in group.rollouts:
            assert not stops & set(rollout.token_ids[:-1])
            if rollout.finish_reason is FinishReason.STOP:
                assert rollout.token_ids[-1] in stops
                ends.add(rollout.token_ids[-1])
            else:
                assert len(rollout.token_ids) == sampling.max_new_tokens
                assert rollout.token_ids[-1] not in stops
    assert len(ends) >= 3
    assert not sampling.stop_token_ids or ends & set(sampling.stop_token_ids)


def test_stop_tokens_cut_the_very_answer_that_would_have_gone_on(engine) -> None:
    free = engine.generate(MIXED, SAMPLING, step=1)
    stop = free[0].rollouts[0].token_ids[2]
    cut = engine.generate(MIXED, replace(SAMPLING, stop_token_ids=(stop,)), step=1)
    for long, short in zip(recorded(free), recorded(cut), strict=True):
        end = long[1].index(stop) + 1 if stop in long[1] else len(long[1])
        assert short[1] == long[1][:end]


def test_a_batch_of_bad_prompts_alone_is_a_batch_of_errors(model) -> None:
    engine = EmbeddedEngine(model, lambda rows: words(rows) or [""], eos_token_ids=EOS, seed=0)
    groups = engine.generate([Prompt("empty", (), "", ())], SAMPLING, step=1)
    assert [(group.rollouts, bool(group.error)) for group in groups] == [([], True)]


def test_without_any_end_token_every_answer_uses_its_budget(model) -> None:
    endless = EmbeddedEngine(model, words, eos_token_ids=(), seed=0)
    for group in endless.generate(MIXED, replace(SAMPLING, max_new_tokens=5), step=1):
        assert [(len(r.token_ids), r.finish_reason) for r in group.rollouts] == [(5, FinishReason.LENGTH)] * 3


def test_a_budget_of_one_token_is_enough_for_one(engine) -> None:
    groups = engine.generate(MIXED, replace(SAMPLING, max_new_tokens=1, n=40), step=1)
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    assert all(len(r.token_ids) == len(r.logprobs) == 1 for r in rollouts)
    for rollout in rollouts:
        assert (rollout.finish_reason is FinishReason.STOP) == (rollout.token_ids[0] in EOS)
    assert len({rollout.token_ids[0] for rollout in rollouts}) > 20


def test_a_shorter_budget_gives_the_beginning_of_the_same_answers(engine) -> None:
    long = answers(engine.generate(MIXED, SAMPLING, step=1))
    short = answers(engine.generate(MIXED, replace(SAMPLING, max_new_tokens=7), step=1))
    assert {uid: [ids[:7] for ids, _ in rows] for uid, rows in long.items()} == {
        uid: [ids for ids, _ in rows] for uid, rows in short.items()
    }


def test_answers_do_not_depend_on_the_prompts_beside_them_their_order_or_the_batch_size(engine, model) -> None:
    together = answers(engine.generate(MIXED, SAMPLING, step=4))
    assert len({len(ids) for rows in together.values() for ids, _ in rows}) > 5
    for prompt in MIXED:
        alone = answers(engine.generate([prompt], SAMPLING, step=4))
        assert alone == {prompt.uid: together[prompt.uid]}
    assert answers(engine.generate(MIXED[::-1], SAMPLING, step=4)) == together
    for most in (1, 3, 7, 1000):
        narrow = EmbeddedEngine(model, words, eos_token_ids=EOS, seed=11, max_sequences=most)
        assert answers(narrow.generate(MIXED, SAMPLING, step=4)) == together


def test_more_samples_leave_the_first_ones_as_they_were(engine) -> None:
    few = answers(engine.generate(MIXED, SAMPLING, step=4))
    many = answers(engine.generate(MIXED, replace(SAMPLING, n=7), step=4))
    assert {uid: rows[:3] for uid, rows in many.items()} == few


def test_groups_come_back_in_the_order_of_the_prompts_with_their_samples_numbered(engine) -> None:
    groups = engine.generate(MIXED, SAMPLING, step=1)
    assert [group.prompt for group in groups] == MIXED
    for group in groups:
        assert [r.sample for r in group.rollouts] == [0, 1, 2]
        for rollout in group.rollouts:
            assert len(rollout.token_ids) == len(rollout.logprobs) == len(rollout.loss_mask)
            assert all(rollout.loss_mask)
            assert rollout.text == words([rollout.token_ids])[0]
            assert rollout.verdict is None


def test_every_part_of_the_key_gives_other_answers(engine, model) -> None:
    prompt = MIXED[0]
    base = answers(engine.generate([prompt], SAMPLING, step=1))[prompt.uid]
    assert len({tuple(ids) for ids, _ in base}) == 3, "samples differ"
    other_seed = EmbeddedEngine(model, words, eos_token_ids=EOS, seed=12)
    changed = [
        engine.generate([prompt], SAMPLING, step=2),
        engine.generate([replace(prompt, uid="another row")], SAMPLING, step=1),
        engine.generate([replace(prompt, occurrence=1)], SAMPLING, step=1),
        other_seed.generate([prompt], SAMPLING, step=1),
    ]
    for groups in changed:
        assert not {tuple(r.token_ids) for r in groups[0].rollouts} & {tuple(ids) for ids, _ in base}
    assert answers(engine.generate([prompt], SAMPLING, step=1))[prompt.uid] == base


def test_greedy_answers_of_one_prompt_are_all_the_same(engine) -> None:
    (group,) = engine.generate(MIXED[:1], SamplingParams(temperature=0, n=3, max_new_tokens=6), step=1)
    assert len({tuple(rollout.token_ids) for rollout in group.rollouts}) == 1


def test_progress_counts_every_answer_once(model) -> None:
    finished: list[int] = []
    engine = EmbeddedEngine(model, words, eos_token_ids=EOS, seed=11, max_sequences=6, progress=finished.append)
    engine.generate(MIXED, SAMPLING, step=1)
    assert sum(finished) == len(MIXED) * 3
    assert len(finished) > 5
    assert min(finished) >= 1


def test_without_a_limit_answers_side_by_side_keep_keys_and_values_within_their_memory(model, monkeypatch) -> None:
    rows: list[int] = []
    engine = EmbeddedEngine(model, words, eos_token_ids=EOS, seed=11)
    step = engine._decode_step
    monkeypatch.setattr(
        engine, "_decode_step", lambda tokens, cache: (rows.append(len(tokens)), step(tokens, cache))[1]
    )
    bytes_per_token = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, width, float32
    monkeypatch.setattr(embedded, "CACHE_BYTES", bytes_per_token * (2 * 12 + 3 * 40) * 2)
    together = answers(engine.generate(MIXED, SAMPLING, step=4))
    assert max(rows) <= 6
    monkeypatch.undo()
    assert answers(engine.generate(MIXED, SAMPLING, step=4)) == together


def test_new_weights_are_sampled_from_at_once(tiny_model) -> None:
    model = tiny_model(2, initializer_range=0.15)
    engine = EmbeddedEngine(model, words, eos_token_ids=EOS, seed=11)
    before = answers(engine.generate(MIXED, SAMPLING, step=1))
    with torch.no_grad():
        model.lm_head.weight.copy_(tiny_model(5).lm_head.weight)
    assert engine.load_weights(1).result() == {}
    groups = engine.generate(MIXED, SAMPLING, step=1)
    assert answers(groups) != before
    for prompt, token_ids, logprobs in recorded(groups):
        law = full_logits(model, prompt, token_ids).log_softmax(-1)
        expected = law.gather(-1, torch.tensor(token_ids)[:, None])[:, 0]
        assert (torch.tensor(logprobs, dtype=torch.float64) - expected).abs().max() < 1e-4


def test_a_model_in_training_mode_is_sampled_as_in_evaluation_and_left_in_training_mode(tiny_model) -> None:
    model = tiny_model(2, initializer_range=0.15, attention_dropout=0.5)
    engine = EmbeddedEngine(model, words, eos_token_ids=EOS, seed=11)
    calm = answers(engine.generate(MIXED, SAMPLING, step=1))
    model.train()
    model.gradient_checkpointing_enable()
    assert answers(engine.generate(MIXED, SAMPLING, step=1)) == calm
    assert model.training


def test_no_prompts_give_no_groups(engine) -> None:
    assert engine.generate([], SAMPLING, step=1) == []


@pytest.mark.parametrize("config", [{"family": "Mistral", "sliding_window": 4}, {"family": "GPT2"}], ids=str)
def test_sliding_windows_and_absolute_positions_are_sampled_as_the_model_computes_them(tiny_model, config) -> None:
    model = tiny_model(**config, initializer_range=0.2)
    engine = EmbeddedEngine(model, words, eos_token_ids=EOS, seed=0)
    for prompt, token_ids, logprobs in recorded(engine.generate(MIXED, SAMPLING, step=1)):
        law = full_logits(model, prompt, token_ids).log_softmax(-1)
        expected = law.gather(-1, torch.tensor(token_ids)[:, None])[:, 0]
        assert (torch.tensor(logprobs, dtype=torch.float64) - expected).abs().max() < 1e-4


def test_fire_draws_the_first_token_under_its_own_law_and_the_rest_as_usual(engine, model) -> None:
    fire = replace(SAMPLING, n=40, max_new_tokens=6, first_token=FirstToken(temperature=10.0, top_k=16))
    groups = engine.generate(MIXED, fire, step=1)
    for prompt, token_ids, logprobs in recorded(groups):
        logits = full_logits(model, prompt, token_ids)
        hot = logits[0] / 10.0
        hot[hot < hot.topk(16).values[-1]] = -torch.inf
        law = torch.cat([hot[None], logits[1:]]).log_softmax(-1)
        expected = law.gather(-1, torch.tensor(token_ids)[:, None])[:, 0]
        assert (torch.tensor(logprobs, dtype=torch.float64) - expected).abs().max() < 1e-4
        assert len(token_ids) <= 6
    plain = engine.generate(MIXED, replace(fire, first_token=FirstToken(temperature=0.1, top_k=16)), step=1)

    def first_tokens(groups: list[Group]) -> int:
        return sum(len({rollout.token_ids[0] for rollout in group.rollouts}) for group in groups)

    assert first_tokens(groups) > 1.1 * first_tokens(plain)
