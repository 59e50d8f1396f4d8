"""The embedded engine tells every token as it is drawn, and draws none otherwise for it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lightrft_core import Group, Prompt, SamplingParams
from lightrft_strategy.engines.embedded import EmbeddedEngine

pytestmark = pytest.mark.usefixtures("one_thread")

ENDS = (7, 31, 88, 200, 251, 299)
SAMPLING = SamplingParams(max_new_tokens=30, n=3)


def words(rows: list[list[int]]) -> list[str]:
    return [" ".join(map(str, row)) for row in rows]


def answers(groups: list[Group]) -> dict[tuple[int, int], list[int]]:
    return {(place, r.sample): r.token_ids for place, group in enumerate(groups) for r in group.rollouts}


@pytest.mark.parametrize("side_by_side", [0, 6])
@pytest.mark.parametrize("sampling", [SAMPLING, replace(SAMPLING, stop=("4",)), replace(SAMPLING, n=1, temperature=0)])
def test_the_tokens_that_are_told_are_those_of_the_answers(tiny_model, sampling: SamplingParams, side_by_side: int):
    model, numbers = tiny_model(2, initializer_range=0.15), random.Random(3)
    prompts = [
        Prompt(f"row{i}", (), "", tuple(numbers.randrange(300) for _ in range(length)))
        for i, length in enumerate((5, 12, 0, 12, 8, 3))
    ]
    told: dict[tuple[int, int], list[int]] = {}
    order: list[tuple[int, int]] = []

    def hear(prompt: int, sample: int, token: int) -> None:
        order.append((prompt, sample))
        told.setdefault((prompt, sample), []).append(token)

    silent = EmbeddedEngine(model, words, eos_token_ids=ENDS, seed=11, max_sequences=side_by_side)
    heard = EmbeddedEngine(model, words, eos_token_ids=ENDS, seed=11, max_sequences=side_by_side, on_token=hear)
    groups = heard.generate(prompts, sampling, step=1)
    assert told == answers(groups) == answers(silent.generate(prompts, sampling, step=1))
    assert groups[2].error and len({len(tokens) for tokens in told.values()}) > 1
    assert order[:3] != order[3:6] or sampling.n == 1, "answers are told while they are drawn, not one after another"


def test_what_hears_may_end_it_and_the_model_is_as_before(tiny_model) -> None:
    class Enough(Exception):
        pass

    model = tiny_model(2).train()

    def hear(prompt: int, sample: int, token: int) -> None:
        raise Enough

    engine = EmbeddedEngine(model, words, eos_token_ids=ENDS, seed=11, on_token=hear)
    with pytest.raises(Enough):
        engine.generate([Prompt("row", (), "", (1, 2, 3))], SAMPLING, step=1)
    assert model.training
    engine.on_token = None
    (group,) = engine.generate([Prompt("row", (), "", (1, 2, 3))], SAMPLING, step=1)
    assert len(group.rollouts) == 3
