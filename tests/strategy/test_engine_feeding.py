"""Feeding: prompts join as room frees, refused ones cost themselves alone, and nobody's answers change."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from lightrft_core import FirstToken, Group, Prompt, SamplingParams
from lightrft_strategy.engines.embedded import EmbeddedEngine

pytestmark = pytest.mark.usefixtures("one_thread")

EOS = (7, 31, 88, 200, 251, 299)
LAWS = {
    "sampled": SamplingParams(max_new_tokens=40, n=3),
    "greedy": SamplingParams(temperature=0, max_new_tokens=40, n=2),
    "least": SamplingParams(max_new_tokens=30, n=2, min_new_tokens=6, first_token=FirstToken()),
    "stop texts": SamplingParams(max_new_tokens=30, n=3, stop=("1 2", "9 ")),
    "mixed": SamplingParams(
        n=3,
        per_sample=(
            SamplingParams(temperature=0, max_new_tokens=9),
            SamplingParams(max_new_tokens=40, min_new_tokens=4, top_p=0.9),
            SamplingParams(max_new_tokens=25, stop=("3 3",), top_k=30, logit_bias={5: 1.0}),
        ),
    ),
}


def words(rows: list[list[int]]) -> list[str]:
    return [" ".join(map(str, row)) for row in rows]


def prompt(uid: str, length: int) -> Prompt:
    rng = random.Random(uid)
    return Prompt(uid, (), "", tuple(rng.randrange(300) for _ in range(length)))


PROMPTS = [prompt(f"row{i}", length) for i, length in enumerate((5, 12, 1, 12, 8, 3, 20, 2, 9))]


@pytest.fixture(scope="module")
def model(tiny_model) -> Any:
    return tiny_model(2, initializer_range=0.15)


class Counting(EmbeddedEngine):
    """Notes the rows of every decoding step and the answers it reports."""

    def __init__(self, model: Any, **options: Any) -> None:
        self.rows: list[int] = []
        self.finished: list[int] = []
        super().__init__(model, words, eos_token_ids=EOS, seed=11, progress=self.finished.append, **options)

    def _decode_step(self, tokens: Any, cache: Any) -> Any:
        self.rows.append(len(tokens))
        return super()._decode_step(tokens, cache)


def answers(groups: list[Group]) -> dict[str, list[tuple[list[int], str]]]:
    return {g.prompt.uid: [(r.token_ids, r.finish_reason) for r in g.rollouts] for g in groups}


@pytest.mark.parametrize("law", LAWS)
def test_answers_are_the_same_however_many_run_side_by_side(model, law) -> None:
    sampling = LAWS[law]
    whole = Counting(model)
    expected = whole.generate(PROMPTS, sampling, step=3)
    assert max(whole.rows) <= len(PROMPTS) * sampling.n
    for most in (1, 2 * sampling.n, 5 * sampling.n + 1):
        fed = Counting(model, max_sequences=most)
        groups = fed.generate(PROMPTS, sampling, step=3)
        assert answers(groups) == answers(expected)
        assert max(fed.rows) <= max(most, sampling.n)
        assert sum(fed.finished) == len(PROMPTS) * sampling.n
        for group, other in zip(groups, expected, strict=True):
            for rollout, same in zip(group.rollouts, other.rollouts, strict=True):
                assert rollout.logprobs == pytest.approx(same.logprobs, abs=1e-4)


def test_rows_that_end_early_are_used_again_before_the_longest_answer_ends(model) -> None:
    fed = Counting(model, max_sequences=12)
    groups = fed.generate(PROMPTS, LAWS["sampled"], step=3)
    steps = [max(len(r.token_ids) for r in group.rollouts) - 1 for group in groups]
    order = sorted(range(len(PROMPTS)), key=lambda i: (-len(PROMPTS[i].token_ids), i))
    batches = [order[start : start + 4] for start in range(0, len(order), 4)]
    assert len(fed.rows) < sum(max(steps[i] for i in batch) for batch in batches)


@pytest.mark.parametrize("family", [{}, {"family": "Mistral", "sliding_window": 4}, {"family": "GPT2"}], ids=str)
def test_what_is_recorded_of_answers_that_joined_late_is_what_a_full_forward_pass_says(tiny_model, family) -> None:
    model = tiny_model(2, initializer_range=0.15, **family)
    groups = Counting(model, max_sequences=6).generate(PROMPTS, LAWS["sampled"], step=5)
    for group in groups:
        for rollout in group.rollouts:
            ids = torch.tensor([[*group.prompt.token_ids, *rollout.token_ids]])
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False).logits[0, len(group.prompt.token_ids) - 1 : -1]
            law = logits.double().log_softmax(-1)
            expected = law.gather(-1, torch.tensor(rollout.token_ids)[:, None])[:, 0]
            assert (torch.tensor(rollout.logprobs, dtype=torch.float64) - expected).abs().max() < 1e-4


BAD = {
    "empty": (Prompt("empty", (), "", ()), "prompt empty has no tokens: give"),
    "strange": (Prompt("strange", (), "", (4, 300, 5)), "prompt strange has token 300, .* from 0 to 299: encode"),
    "negative": (Prompt("negative", (), "", (-1,)), "prompt negative has token -1"),
    "long": (prompt("long", 473), "prompt long has 473 tokens and its answer may have 40, .* at most 512: shorten"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_prompt_that_cannot_be_answered_says_why_and_costs_nobody_else(model, bad) -> None:
    refused, message = BAD[bad]
    engine = EmbeddedEngine(model, words, eos_token_ids=EOS, seed=11, max_sequences=6)
    expected = engine.generate(PROMPTS, LAWS["sampled"], step=3)
    *_, group = groups = engine.generate(
        [refused, *PROMPTS[:4], refused, *PROMPTS[4:], refused], LAWS["sampled"], step=3
    )
    assert [g.prompt.uid for g in groups if g.error] == [refused.uid] * 3
    assert group.rollouts == []
    assert re.match(message, group.error), group.error
    assert answers([g for g in groups if not g.error]) == answers(expected)
    (alone,) = engine.generate([refused], LAWS["sampled"], step=3)
    assert alone.error == group.error


def test_a_prompt_and_answer_that_just_fit_are_answered(model) -> None:
    engine = EmbeddedEngine(model, words, eos_token_ids=(), seed=11)
    (group,) = engine.generate([prompt("fits", 472)], replace(LAWS["greedy"], n=1), step=1)
    assert not group.error
    assert len(group.rollouts[0].token_ids) == 40


def test_a_model_that_does_not_only_attend_is_refused(tiny_model) -> None:
    model = tiny_model(0)
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ValueError, match=r"llama model, .* \(linear_attention\): sample with another engine"):
        EmbeddedEngine(model, words, eos_token_ids=EOS, seed=0)
