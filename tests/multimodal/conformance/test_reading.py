"""An actor that reads through an adapter says what the model itself says of each prompt and answer alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightrft_core import Batch, TrainingSequence, collate
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.reading import Reader

from .subject import Subject

EXACT = 1e-6
WAYS: dict[str, dict[str, bool]] = {
    "padded, a copy of the prompt for each answer": {"sharing": False},
    "padded, a prompt once": {"sharing": True},
    "packed, a copy of the prompt for each answer": {"packing": True, "sharing": False},
    "packed, a prompt once": {"packing": True, "sharing": True},
}
LENGTHS = (3, 1, 5)
"""Of the answers to each question."""


def test_every_way_of_computing_gives_the_models_own_log_probabilities_and_gradients(subject: Subject) -> None:
    model, answers = subject.fresh(), _answers(subject)
    own, own_gradients = _with_gradients(model, _own_logprobs(subject, model, answers))
    for way, options in WAYS.items():
        if options.get("packing") and not subject.case.packs:
            continue
        actor = LanguageActor(model, reader=Reader(subject.adapter), **options)
        ours, gradients = _with_gradients(model, actor(_batch(subject, answers)).logprobs)
        torch.testing.assert_close(ours, own, rtol=0, atol=EXACT, msg=lambda text, way=way: f"{way}: {text}")
        assert gradients.keys() == own_gradients.keys()
        for name, gradient in gradients.items():
            apart = (gradient - own_gradients[name]).norm() / own_gradients[name].norm().clamp(min=1e-3)
            assert apart < 10 * EXACT, (way, name, float(apart))


def test_rows_are_packed_or_it_is_told_why_they_cannot_be(subject: Subject) -> None:
    if not subject.case.packs:
        actor = LanguageActor(subject.fresh(), reader=Reader(subject.adapter), packing=True)
        with pytest.raises(ValueError, match="turn packing off"):
            actor(_batch(subject, _answers(subject)))


def test_every_weight_is_a_towers_or_the_decoders_or_the_heads(subject: Subject) -> None:
    model = subject.model
    prefixes = tuple({f"{name}." for names in subject.adapter.towers.values() for name in names})
    parts = (subject.adapter.decoder(model), model.get_output_embeddings())
    reading = {id(weight) for part in parts for weight in part.parameters()}
    for name, weight in model.named_parameters():
        assert f"{name}.".startswith(prefixes) != (id(weight) in reading), name


def _answers(subject: Subject) -> list[tuple[list[int], ...]]:
    """To each question several answers of random tokens, none of them special."""
    generator = torch.Generator().manual_seed(1)
    tokenizer = subject.adapter.tokenizer
    allowed = torch.tensor(sorted(set(range(len(tokenizer))) - set(tokenizer.added_tokens_decoder)))

    def ids(length: int) -> list[int]:
        return allowed[torch.randint(len(allowed), (length,), generator=generator)].tolist()  # type: ignore[no-any-return]

    return [tuple(ids(length) for length in LENGTHS) for _ in subject.questions]


def _batch(subject: Subject, answers: list[tuple[list[int], ...]]) -> Batch:
    return collate(
        [
            TrainingSequence(ids, answer, [True] * len(answer), 1.0, none, none, media=media)
            for (_, ids), media, own in zip(subject.encoded, subject.media, answers, strict=True)
            for answer in own
            for none in [torch.zeros(len(answer))]
        ]
    )


def _own_logprobs(subject: Subject, model: Any, answers: list[tuple[list[int], ...]]) -> Tensor:
    """[tokens] of each answer behind its prompt alone, under the law that knows no placeholders."""
    found = []
    for (text, _), question, own in zip(subject.encoded, subject.questions, answers, strict=True):
        prompt = subject.through_processor([text], [question])
        length = prompt["input_ids"].shape[1]
        for answer in own:
            logits = model(**_continued(prompt, answer)).logits[0, length - 1 : -1]
            logits[:, list(subject.adapter.placeholders)] = -torch.inf
            found.append(logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])[:, 0])
    return torch.cat(found)


def _continued(prompt: dict[str, Tensor], answer: list[int]) -> dict[str, Tensor]:
    """What the processor gave, and behind it tokens of text."""
    tails = {"input_ids": torch.tensor([answer]), "attention_mask": torch.ones(1, len(answer), dtype=torch.long)}
    kinds = torch.zeros(1, len(answer), dtype=torch.long)
    tails |= {name: kinds for name in ("token_type_ids", "mm_token_type_ids") if name in prompt}
    return prompt | {name: torch.cat([prompt[name], tail], 1) for name, tail in tails.items()}


def _with_gradients(model: Any, logprobs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities, and the gradients of a sum that weights each of them differently."""
    weights = torch.randn(len(logprobs), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model.zero_grad(set_to_none=True)
    (weights * logprobs).sum().backward()
    return logprobs.detach(), {
        name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
    }
