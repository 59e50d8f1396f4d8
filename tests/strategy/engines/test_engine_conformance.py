"""What every engine must do alike, whoever wrote it: the suite a new engine has to pass."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from lightrft_core import FinishReason, FirstToken, Group, Prompt, SamplingParams

from .conftest import EOS, LONGEST, VOCABULARY, Pair, spell

SAMPLING = SamplingParams(max_new_tokens=24, n=4)
GREEDY = SamplingParams(temperature=0, max_new_tokens=32)


def prompts(*lengths: int, seed: int = 3) -> list[Prompt]:
    rng = random.Random(seed)
    return [
        Prompt(f"row{i}", (), "", tuple(rng.randrange(100, VOCABULARY) for _ in range(length)))
        for i, length in enumerate(lengths)
    ]


MIXED = prompts(5, 17, 1, 17, 40)


def token_ids(groups: Sequence[Group]) -> list[list[list[int]]]:
    return [[rollout.token_ids for rollout in group.rollouts] for group in groups]


@torch.no_grad()
def full_logits(model: Any, prompt: Prompt, answer: Sequence[int]) -> torch.Tensor:
    """[answer, vocab] in float64, from one forward pass over the whole sequence without a cache."""
    ids = torch.tensor([[*prompt.token_ids, *answer]])
    return model(input_ids=ids, use_cache=False).logits[0, len(prompt.token_ids) - 1 : -1].double()


def gaps(pair: Pair, groups: Sequence[Group], law: SamplingParams) -> torch.Tensor:
    """How far each recorded log-probability lies from the one a full forward pass gives under the law.

    Times a temperature below 1, by which a law stretches what its logits differ by.
    """
    found, edges = [], 0
    for group in groups:
        for rollout in group.rollouts:
            logits = full_logits(pair.model, group.prompt, rollout.token_ids)
            for position, (row, token) in enumerate(zip(logits, rollout.token_ids, strict=True)):
                here = law.of(rollout.sample).at(position)
                for biased, bias in here.logit_bias.items():
                    row[biased] += bias
                if position < here.min_new_tokens:
                    row[[*EOS, *here.stop_token_ids]] = -torch.inf
                row = row / (here.temperature or 1.0)
                if here.top_k:
                    kept = row.topk(here.top_k).indices
                    row[[i for i in range(len(row)) if i not in {*kept.tolist(), token}]] = -torch.inf
                    edges += token not in kept
                gap = float(row.log_softmax(-1)[token]) - rollout.logprobs[position]
                found.append(gap * min(here.temperature or 1.0, 1.0))
    assert edges <= (0 if pair.model.dtype == torch.float32 else 0.03 * len(found)), "tokens outside the top k"
    return torch.tensor(found).abs()


def agree(pair: Pair, groups: Sequence[Group], law: SamplingParams) -> None:
    apart = gaps(pair, groups, law)
    assert len(apart) > 30
    assert apart.mean() < pair.mean
    assert apart.max() < pair.largest


def test_greedy_answers_are_the_likeliest_tokens(pair: Pair) -> None:
    for group in pair.engine.generate(MIXED, GREEDY, step=1):
        (rollout,) = group.rollouts
        logits = full_logits(pair.model, group.prompt, rollout.token_ids)
        chosen = logits.gather(-1, torch.tensor(rollout.token_ids)[:, None])[:, 0]
        tie = 1e-4 if pair.model.dtype == torch.float32 else 0.15
        assert (logits.max(-1).values - chosen).max() < tie
        ended = rollout.token_ids[-1] in EOS
        assert (rollout.finish_reason is FinishReason.STOP) == ended
        assert ended or len(rollout.token_ids) == GREEDY.max_new_tokens
        assert not {*EOS} & {*rollout.token_ids[:-1]}


@pytest.mark.parametrize(
    "law",
    [
        SAMPLING,
        replace(SAMPLING, temperature=0.6),
        replace(SAMPLING, top_k=5),
        replace(SAMPLING, logit_bias={150: 4.0, 151: -100.0}),
        replace(SAMPLING, min_new_tokens=12, stop_token_ids=tuple(range(100, 180))),
        replace(SAMPLING, first_token=FirstToken()),
        GREEDY,
    ],
    ids=["plain", "cool", "top-k", "bias", "least length", "bold first token", "greedy"],
)
def test_recorded_log_probabilities_are_those_of_the_law_drawn_from(pair: Pair, law: SamplingParams) -> None:
    agree(pair, pair.engine.generate(MIXED, law, step=1), law)


def test_the_samples_of_a_prompt_differ(pair: Pair) -> None:
    (group,) = pair.engine.generate(prompts(6), replace(SAMPLING, n=8), step=1)
    assert [rollout.sample for rollout in group.rollouts] == list(range(8))
    assert len({tuple(rollout.token_ids) for rollout in group.rollouts}) >= 7


def test_the_key_of_an_answer_decides_it(pair: Pair) -> None:
    one, again = (token_ids(pair.engine.generate(MIXED, SAMPLING, step=1)) for _ in range(2))
    assert one == again
    assert token_ids(pair.engine.generate(MIXED, SAMPLING, step=2)) != one
    later = [replace(prompt, occurrence=1) for prompt in MIXED]
    assert token_ids(pair.engine.generate(later, SAMPLING, step=1)) != one


def test_an_answer_ends_with_a_stop_token_and_keeps_it(pair: Pair) -> None:
    stops = tuple(range(100, 180))
    law = replace(SAMPLING, stop_token_ids=stops)
    reasons = set()
    for group in pair.engine.generate(MIXED, law, step=1):
        for rollout in group.rollouts:
            reasons.add(rollout.finish_reason)
            stopped = rollout.token_ids[-1] in {*EOS, *stops}
            assert (rollout.finish_reason is FinishReason.STOP) == stopped
            assert not {*EOS, *stops} & {*rollout.token_ids[:-1]}
    assert FinishReason.STOP in reasons


def test_an_answer_ends_with_a_stop_text_and_keeps_it(pair: Pair) -> None:
    (free,) = pair.engine.generate(prompts(9), GREEDY, step=1)
    answer = free.rollouts[0].token_ids
    assert len(answer) > 8
    text = spell([answer[3:5]])[0]
    (cut,) = pair.engine.generate(prompts(9), replace(GREEDY, stop=(text, "never")), step=1)
    whole = spell([answer])[0]
    assert cut.rollouts[0].token_ids == answer[: whole.index(text) + 2]
    assert cut.rollouts[0].text.endswith(text)
    assert cut.rollouts[0].finish_reason is FinishReason.STOP


def test_no_answer_ends_before_its_least_length(pair: Pair) -> None:
    law = replace(SAMPLING, min_new_tokens=10, stop_token_ids=tuple(range(VOCABULARY // 2)))
    lengths = [len(r.token_ids) for g in pair.engine.generate(MIXED, law, step=1) for r in g.rollouts]
    assert min(lengths) >= 10
    assert min(lengths) < law.max_new_tokens


def test_each_sample_may_have_a_law_of_its_own(pair: Pair) -> None:
    laws = (
        SamplingParams(temperature=0, max_new_tokens=9),
        SamplingParams(temperature=1.5, max_new_tokens=20),
        SamplingParams(temperature=0, max_new_tokens=9, logit_bias={200: 100.0}),
    )
    law = SamplingParams(n=3, per_sample=laws, max_new_tokens=20)
    groups = pair.engine.generate(MIXED, law, step=1)
    agree(pair, groups, law)
    greedy = pair.engine.generate(MIXED, laws[0], step=1)
    for group, alone in zip(groups, greedy, strict=True):
        if pair.model.dtype == torch.float32:
            assert group.rollouts[0].token_ids == alone.rollouts[0].token_ids
        assert group.rollouts[2].token_ids == [200] * 9
        assert len(group.rollouts[1].token_ids) <= 20


@pytest.mark.parametrize(
    "bad",
    [(), (5, VOCABULARY + 4), tuple(range(100, 100 + LONGEST))],
    ids=["empty", "not the model's tokens", "too long"],
)
def test_a_bad_prompt_costs_its_own_group_alone(pair: Pair, bad: tuple[int, ...]) -> None:
    alone = token_ids(pair.engine.generate(MIXED, GREEDY, step=1))
    broken = Prompt("data.jsonl:17", (), "", bad)
    groups = pair.engine.generate([*MIXED[:2], broken, *MIXED[2:]], GREEDY, step=1)
    assert groups[2].rollouts == []
    assert "data.jsonl:17" in groups[2].error
    assert not any(group.error for group in groups[:2] + groups[3:])
    if pair.model.dtype == torch.float32:
        assert token_ids(groups[:2] + groups[3:]) == alone


def test_new_weights_change_the_answers_and_the_old_ones_bring_them_back(pair: Pair) -> None:
    parameters = list(pair.model.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    old = pair.engine.generate(MIXED, GREEDY, step=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    pair.engine.load_weights(1)
    new = pair.engine.generate(MIXED, GREEDY, step=1)
    agree(pair, new, GREEDY)
    with torch.no_grad():
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
    pair.engine.load_weights(2)
    assert token_ids(new) != token_ids(old)
    assert token_ids(pair.engine.generate(MIXED, GREEDY, step=1)) == token_ids(old)
