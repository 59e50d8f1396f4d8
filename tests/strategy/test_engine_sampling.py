"""Least tokens, biases, stop texts and laws by sample, against full forward passes in float64."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightrft_core import FinishReason, FirstToken, Group, Prompt, Rollout, SamplingParams
from lightrft_strategy.engines.embedded import EmbeddedEngine

pytestmark = pytest.mark.usefixtures("one_thread")

EOS = (7, 31, 88, 200, 251, 299)
SAMPLING = SamplingParams(max_new_tokens=24, n=6)
RNG = random.Random(3)
PROMPTS = [Prompt(f"row{i}", (), "", tuple(RNG.choices(range(300), k=k))) for i, k in enumerate((5, 12, 1, 8))]


def words(rows: list[list[int]]) -> list[str]:
    return [" ".join(map(str, row)) for row in rows]


@pytest.fixture(scope="module")
def model(tiny_model) -> Any:
    return tiny_model(2, initializer_range=0.15)


@pytest.fixture(scope="module")
def engine(model) -> EmbeddedEngine:
    return EmbeddedEngine(model, words, eos_token_ids=EOS, seed=11)


def law(model: Any, prompt: Prompt, rollout: Rollout, sampling: SamplingParams) -> Tensor:
    """[answer, vocab] log-probabilities in float64 of every token the answer could have had."""
    with torch.no_grad():
        ids = torch.tensor([[*prompt.token_ids, *rollout.token_ids]])
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt.token_ids) - 1 : -1].double()
    for token, bias in sampling.logit_bias.items():
        logits[:, token] += bias
    logits[: sampling.min_new_tokens, [*EOS, *sampling.stop_token_ids]] = -torch.inf
    for position, row in enumerate(logits):
        at = sampling.at(position)
        row /= at.temperature or 1
        if at.top_k:
            row[row < row.topk(at.top_k).values[-1]] = -torch.inf
    return logits.log_softmax(-1)


def check(model: Any, groups: list[Group], sampling: SamplingParams) -> None:
    for group in groups:
        for rollout in group.rollouts:
            mine = sampling.of(rollout.sample)
            expected = law(model, group.prompt, rollout, mine)
            chosen = expected.gather(-1, torch.tensor(rollout.token_ids)[:, None])[:, 0]
            assert (torch.tensor(rollout.logprobs, dtype=torch.float64) - chosen).abs().max() < 1e-4
            if mine.greedy:
                assert rollout.token_ids == expected.argmax(-1).tolist()


def rollouts(groups: list[Group]) -> list[Rollout]:
    return [rollout for group in groups for rollout in group.rollouts]


def test_before_the_least_tokens_no_answer_ends_and_the_law_is_renormalised(engine, model) -> None:
    sampling = replace(SAMPLING, min_new_tokens=5, stop_token_ids=(*range(50, 90), 1000))
    free = engine.generate(PROMPTS, replace(sampling, min_new_tokens=0, stop_token_ids=tuple(range(50, 90))), step=1)
    groups = engine.generate(PROMPTS, sampling, step=1)
    check(model, groups, replace(sampling, stop_token_ids=tuple(range(50, 90))))
    assert min(len(r.token_ids) for r in rollouts(free)) <= 5 < min(len(r.token_ids) for r in rollouts(groups))
    assert min(len(r.token_ids) for r in rollouts(groups)) == 6, "the first token that may end an answer can"


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_a_bias_is_added_to_logits_before_the_temperature(engine, model, temperature) -> None:
    sampling = replace(SAMPLING, temperature=temperature, logit_bias={9: 3.0, 12: -100.0, 40: 2})
    groups = engine.generate(PROMPTS, sampling, step=1)
    check(model, groups, sampling)
    drawn = [token for rollout in rollouts(groups) for token in rollout.token_ids]
    assert 12 not in drawn
    plain = engine.generate(PROMPTS, replace(sampling, logit_bias={}), step=1)
    assert drawn.count(9) > [token for rollout in rollouts(plain) for token in rollout.token_ids].count(9)


def test_a_bias_for_a_token_that_is_none_is_refused(engine) -> None:
    with pytest.raises(ValueError, match="logit_bias names token 300, but tokens go from 0 to 299: leave it out"):
        engine.generate(PROMPTS, replace(SAMPLING, logit_bias={300: 1.0}), step=1)


def test_every_sample_is_drawn_under_its_own_law(engine, model) -> None:
    laws = (
        SamplingParams(temperature=0, max_new_tokens=20),
        SamplingParams(temperature=0.5, max_new_tokens=7),
        SamplingParams(top_k=4, max_new_tokens=24, min_new_tokens=6),
        SamplingParams(temperature=0, logit_bias={9: 8.0}, max_new_tokens=5),
        SamplingParams(first_token=FirstToken(10.0, 16), stop_token_ids=(50, 60, 70), max_new_tokens=100),
        SamplingParams(stop=("1 2", "4 9"), max_new_tokens=100),
    )
    sampling = SamplingParams(n=6, per_sample=laws)
    groups = engine.generate(PROMPTS, sampling, step=1)
    check(model, groups, sampling)
    for number, mine in enumerate(laws):
        alone = engine.generate(PROMPTS, SamplingParams(n=6, per_sample=(mine,) * 6), step=1)
        for group, other in zip(groups, alone, strict=True):
            rollout = group.rollouts[number]
            assert rollout.token_ids == other.rollouts[number].token_ids
            assert len(rollout.token_ids) <= mine.max_new_tokens
            if rollout.finish_reason is FinishReason.LENGTH:
                assert len(rollout.token_ids) == mine.max_new_tokens


@pytest.mark.parametrize("least", [0, 3])
def test_a_stop_text_cuts_the_very_answer_that_would_have_gone_on(engine, model, least) -> None:
    free = engine.generate(PROMPTS, replace(SAMPLING, min_new_tokens=least), step=1)
    stops = ("1 2", "9 1", "77")
    cut = engine.generate(PROMPTS, replace(SAMPLING, min_new_tokens=least, stop=stops), step=1)
    shortened = 0
    for whole, rollout in zip(rollouts(free), rollouts(cut), strict=True):
        ids = whole.token_ids
        texts = words([ids[: i + 1] for i in range(len(ids))])
        heard = [sum(text.count(stop) for stop in stops) for text in ("", *texts)]
        ends = [i for i in range(1, len(heard)) if i > least and heard[i] > heard[i - 1]]
        end = ends[0] if ends else len(ids)
        assert rollout.token_ids == ids[:end]
        assert rollout.text == texts[end - 1]
        assert rollout.finish_reason is (FinishReason.STOP if ends else whole.finish_reason)
        shortened += end < len(ids)
    assert shortened >= 3
    check(model, cut, replace(SAMPLING, min_new_tokens=least))


def test_without_stop_texts_nothing_is_decoded_before_the_answers_are_done(model) -> None:
    calls: list[int] = []
    engine = EmbeddedEngine(model, lambda rows: (calls.append(len(rows)), words(rows))[1], eos_token_ids=EOS, seed=1)
    engine.generate(PROMPTS, SAMPLING, step=1)
    assert calls == [len(PROMPTS) * SAMPLING.n]
