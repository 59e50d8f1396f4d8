"""What supervised fine-tuning minimises, against the cross-entropy of transformers' own logits, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from math import exp
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from lightrft_core import BatchSizes, Example, Likelihood, Metrics, OneRank, example_batches
from lightrft_strategy.language import LanguageActor

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY = 40


def an_example(number: int, masks: Sequence[bool]) -> Example:
    draw = torch.Generator().manual_seed(number)
    ids = torch.randint(0, VOCABULARY, (len(masks),), generator=draw).tolist()
    return Example(f"row:{number}", ids, masks)


@st.composite
def some_examples(draw: Callable[..., Any]) -> list[Example]:
    """Prompts and answers of any length, one turn or several with others between them, and a tail without loss."""
    rows = []
    for number in range(draw(st.integers(1, 6))):
        rest = draw(st.lists(st.booleans(), min_size=1, max_size=14).filter(any))
        rows.append(an_example(number, [False, *rest]))
    return rows


def reference(model: Any, examples: Sequence[Example]) -> tuple[float, dict[str, Tensor]]:
    """The mean over all loss tokens, and its gradient, each example by itself, with labels of -100."""
    model.zero_grad()
    count, total = sum(sum(example.loss_mask) for example in examples), torch.zeros((), dtype=torch.float64)
    for example in examples:
        ids = torch.tensor([list(example.token_ids)])
        labels = ids.masked_fill(~torch.tensor([list(example.loss_mask)], dtype=torch.bool), -100)
        logits = model(input_ids=ids).logits
        total = total + cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum") / count
    total.backward()
    return float(total.detach()), {name: weight.grad.clone() for name, weight in model.named_parameters()}


def sizes(packing: bool, tokens: int, sequences: int) -> BatchSizes:
    return BatchSizes(None, sequences, tokens, 64, shared_prompts=False, packing=packing)


def computed(actor: Any, examples: Sequence[Example], sizes: BatchSizes) -> tuple[float, dict[str, Tensor], Metrics]:
    actor.zero_grad()
    total, metrics = 0.0, Metrics()
    for batch in example_batches(examples, OneRank(), sizes):
        loss, numbers = Likelihood().loss(actor(batch), batch)
        loss.backward()
        total += float(loss.detach())
        metrics.merge(numbers)
    return total, {name: weight.grad for name, weight in actor.model.named_parameters()}, metrics


@pytest.fixture(scope="module")
def plain(tiny_model: Callable[..., Any]) -> Any:
    return tiny_model(vocab_size=VOCABULARY, initializer_range=0.1).double()


@pytest.fixture(scope="module")
def actors(plain: Any) -> dict[bool, LanguageActor]:
    """By whether they pack."""
    return {packing: LanguageActor(deepcopy(plain), packing=packing, sharing=False) for packing in (False, True)}


@settings(max_examples=8)
@given(examples=some_examples(), tokens=st.integers(1, 80), sequences=st.integers(1, 6), packing=st.booleans())
def test_loss_and_gradient_are_the_mean_over_the_steps_loss_tokens(
    plain: Any, actors: dict[bool, LanguageActor], examples: list[Example], tokens: int, sequences: int, packing: bool
) -> None:
    expected, gradient = reference(plain, examples)
    total, found, metrics = computed(actors[packing], examples, sizes(packing, tokens, sequences))
    assert total == pytest.approx(expected, rel=1e-6)
    assert metrics.result()["policy/nll"] == pytest.approx(expected, rel=1e-6)
    largest = max(weight.abs().max() for weight in gradient.values())
    for name, weight in gradient.items():
        # The model's own norms round to float32, wherever the tokens stand.
        assert (found[name] - weight).abs().max() <= 1e-6 * largest, name


def test_the_metrics_are_what_they_are_said_to_be(actors: dict[bool, LanguageActor]) -> None:
    examples = [an_example(0, [False, True, False, True]), an_example(1, [False, False, True])]
    _, _, metrics = computed(actors[True], examples, sizes(True, 100, 10))
    model, logprobs = actors[True].model, []
    for example in examples:
        law = model(input_ids=torch.tensor([list(example.token_ids)])).logits[0].detach().log_softmax(-1)
        logprobs += [float(law[i - 1, token]) for i, token in enumerate(example.token_ids) if example.loss_mask[i]]
    assert len(logprobs) == 3
    assert metrics.result()["policy/token_probability"] == pytest.approx(sum(map(exp, logprobs)) / 3, rel=1e-6)


@pytest.mark.parametrize("mask", [[True, True], [False, False], [True, False]])
def test_tokens_to_learn_must_be_there_and_follow_another(mask: list[bool]) -> None:
    with pytest.raises(ValueError, match="row:7: tokens that bear loss must be there, and follow another"):
        an_example(7, mask).sequence(0)


def test_a_sequence_ends_with_its_last_loss_token() -> None:
    sequence = Example("row", [5, 6, 7, 8, 9], [0, 0, 1, 0, 0]).sequence(3)
    assert (sequence.prompt_ids, sequence.response_ids, sequence.loss_mask) == ((5, 6), [7], [True])
    assert sequence.place == 3
