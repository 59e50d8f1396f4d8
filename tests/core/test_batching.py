"""Micro-batches under a budget of tokens, and the tensors they become."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import TrainingSequence, collate, micro_batches
from lightrft_core.batching import padded_tokens


@st.composite
def training_sequences(draw: st.DrawFn) -> list[TrainingSequence]:
    """Groups of sequences side by side; a sequence's weight is its number, its advantages number its loss tokens."""
    sequences: list[TrainingSequence] = []
    token = st.integers(1, 99)
    for _ in range(draw(st.integers(1, 6))):
        prompt = tuple(draw(st.lists(token, min_size=1, max_size=6)))
        for _ in range(draw(st.integers(1, 4))):
            response = draw(st.lists(token, min_size=1, max_size=8))
            mask = draw(st.lists(st.booleans(), min_size=len(response), max_size=len(response)))
            mask[draw(st.integers(0, len(response) - 1))] = True
            number = len(sequences)
            values = 100.0 * number + torch.arange(sum(mask))
            sequences.append(
                TrainingSequence(
                    place=number,
                    prompt_ids=prompt,
                    response_ids=response,
                    loss_mask=mask,
                    rollout_logprobs=-values,
                    advantages=values,
                    weight=float(number),
                )
            )
    return sequences


def prompts_once(sequences: list[TrainingSequence]) -> list[tuple[int, ...]]:
    return [prompt for prompt, _ in groupby(sequence.prompt_ids for sequence in sequences)]


def cost(sequences: list[TrainingSequence]) -> int:
    """Cells of the padded tensors."""
    batch = collate(sequences)
    return batch.prompt_ids.numel() + batch.response_ids.numel()


@given(training_sequences(), st.integers(1, 120), st.integers(1, 9))
def test_every_sequence_is_in_exactly_one_micro_batch_and_limits_hold(sequences, budget, most) -> None:
    plan = micro_batches(sequences, token_budget=budget, max_sequences=most)
    assert sorted(sequence.weight for part in plan for sequence in part) == list(range(len(sequences)))
    for part in plan:
        assert 1 <= len(part) <= most
        assert len(part) == 1 or cost(part) <= budget


@given(training_sequences(), st.integers(1, 120), st.integers(1, 9))
def test_a_micro_batch_ends_only_where_the_next_sequence_does_not_fit(sequences, budget, most) -> None:
    plan = micro_batches(sequences, token_budget=budget, max_sequences=most)
    for part, following in pairwise(plan):
        assert len(part) == most or cost([*part, following[0]]) > budget


@given(training_sequences())
def test_long_answers_come_first_and_a_prompts_answers_stay_together(sequences) -> None:
    (part,) = micro_batches(sequences, token_budget=10**9, max_sequences=10**9)
    longest = [max(len(s.response_ids) for s in group) for _, group in groupby(part, key=lambda s: s.prompt_ids)]
    assert longest == sorted(longest, reverse=True)
    assert len(prompts_once(part)) <= len(prompts_once(sequences))


def test_nothing_to_learn_from_needs_no_micro_batch() -> None:
    assert micro_batches([], token_budget=10, max_sequences=3) == []


@given(training_sequences())
def test_collating_keeps_every_token_where_its_mask_says(sequences) -> None:
    batch = collate(sequences)
    prompts = prompts_once(sequences)
    assert batch.prompt_ids.shape == batch.prompt_mask.shape == (len(prompts), max(map(len, prompts)))
    assert batch.response_ids.shape == batch.loss_mask.shape
    assert batch.response_ids.shape == (len(sequences), max(len(s.response_ids) for s in sequences))
    assert batch.prompt_mask.dtype == batch.loss_mask.dtype == torch.bool
    for row, prompt in enumerate(prompts):
        assert batch.prompt_ids[row][batch.prompt_mask[row]].tolist() == list(prompt)
        assert batch.prompt_mask[row, -len(prompt) :].all(), "padding stands on the left"
    for row, sequence in enumerate(sequences):
        assert batch.prompt_ids[batch.prompt_index[row]][-len(sequence.prompt_ids) :].tolist() == list(
            sequence.prompt_ids
        )
        assert batch.response_ids[row, : len(sequence.response_ids)].tolist() == list(sequence.response_ids)
        assert batch.loss_mask[row].tolist() == [
            *sequence.loss_mask,
            *[False] * (batch.loss_mask.shape[1] - len(sequence.loss_mask)),
        ]
    assert batch.prompt_index.diff().ge(0).all()


@given(training_sequences())
def test_the_numbers_of_loss_tokens_stand_in_the_order_of_the_loss_mask(sequences) -> None:
    batch = collate(sequences)
    lengths = [sum(sequence.loss_mask) for sequence in sequences]
    rows = [row for row, length in enumerate(lengths) for _ in range(length)]
    assert batch.sequence_ids.tolist() == batch.loss_mask.nonzero()[:, 0].tolist() == rows
    assert batch.weights.tolist() == [float(row) for row in rows]
    assert batch.advantages.tolist() == [100.0 * row + i for row, length in enumerate(lengths) for i in range(length)]
    assert batch.rollout_logprobs.tolist() == (-batch.advantages).tolist()


OPTIONAL = ("old_logprobs", "reference_logprobs", "teacher_logprobs", "old_values", "returns")


@given(training_sequences())
def test_a_column_is_there_if_every_sequence_has_it(sequences) -> None:
    assert all(getattr(collate(sequences), name) is None for name in (*OPTIONAL, "selected"))
    for sequence in sequences:
        for shift, name in enumerate(OPTIONAL):
            setattr(sequence, name, sequence.advantages.double() + shift)
        sequence.selected = sequence.advantages > 1
    batch = collate(sequences)
    for shift, name in enumerate(OPTIONAL):
        assert getattr(batch, name).tolist() == (batch.advantages + shift).tolist()
        assert getattr(batch, name).dtype == torch.float32
    assert batch.selected.tolist() == (batch.advantages > 1).tolist()
    if len(sequences) > 1:
        sequences[-1].old_logprobs = None
        with pytest.raises(ValueError, match="have not been scored"):
            collate(sequences)


@given(training_sequences(), st.booleans())
def test_a_prompt_that_is_not_shared_counts_once_an_answer(sequences, shared: bool) -> None:
    plan = micro_batches(sequences, token_budget=60, max_sequences=100, shared_prompts=shared)
    for part in plan:
        prompts = len({s.prompt_ids for s in part}) if shared else len(part)
        longest = max(len(s.prompt_ids) for s in part), max(len(s.response_ids) for s in part)
        assert len(part) == 1 or prompts * longest[0] + len(part) * longest[1] <= 60


@dataclass(frozen=True)
class Picture:
    """A medium that is its hash."""

    sha256: str
    modality: str = "image"


def test_prompts_of_the_same_tokens_with_other_pictures_are_not_shared() -> None:
    answer = TrainingSequence((1, 2, 3), [4, 5], [True, True], 1.0, torch.ones(2), torch.zeros(2))
    one, other = (replace(answer, media=(Picture(name),)) for name in ("one", "other"))
    batch = collate([one, one, other])
    assert batch.prompt_index.tolist() == [0, 0, 1]
    assert batch.media == ((Picture("one"),), (Picture("other"),))
    assert padded_tokens([one, one, other], packing=True) == 2 * 3 + 3 * 2
