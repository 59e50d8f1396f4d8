"""The embedded engine samples from every family what the model itself would, and says how likely it was."""

from __future__ import annotations

import torch

from lightrft_core import Prompt, SamplingParams, TrainingSequence, collate
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.reading import Reader

from .subject import Subject

TOKENS = 6


def test_greedy_answers_are_those_of_the_models_own_generation(subject: Subject) -> None:
    engine = _engine(subject)
    groups = engine.generate(_prompts(subject), SamplingParams(n=1, temperature=0.0, max_new_tokens=TOKENS), step=0)
    for inputs, group in zip(subject.processed, groups, strict=True):
        own = subject.model.generate(
            **inputs,
            max_new_tokens=TOKENS,
            min_new_tokens=TOKENS,
            do_sample=False,
            suppress_tokens=list(subject.adapter.placeholders),
        )
        assert group.rollouts[0].token_ids == own[0, inputs["input_ids"].shape[1] :].tolist()


def test_log_probabilities_of_samples_are_those_the_trainer_computes(subject: Subject) -> None:
    groups = _engine(subject).generate(_prompts(subject), SamplingParams(n=2, max_new_tokens=TOKENS), step=0)
    rollouts = [(group.prompt, rollout) for group in groups for rollout in group.rollouts]
    batch = collate(
        [
            TrainingSequence(
                prompt.token_ids, rollout.token_ids, rollout.loss_mask, 1.0, none, none, media=prompt.media
            )
            for prompt, rollout in rollouts
            for none in [torch.zeros(len(rollout.token_ids))]
        ]
    )
    with torch.no_grad():
        scored = LanguageActor(subject.model, reader=Reader(subject.adapter))(batch).logprobs
    said = torch.tensor([value for _, rollout in rollouts for value in rollout.logprobs])
    torch.testing.assert_close(scored.float(), said, rtol=0, atol=1e-4)
    assert not {token for _, rollout in rollouts for token in rollout.token_ids} & set(subject.adapter.placeholders)


def _engine(subject: Subject) -> EmbeddedEngine:
    reader = Reader(subject.adapter)
    return EmbeddedEngine(subject.model, lambda rows: [""] * len(rows), eos_token_ids=(), seed=0, reader=reader)


def _prompts(subject: Subject) -> list[Prompt]:
    return [
        Prompt(f"row {number}", question.messages, text, ids, media=question.media)
        for number, (question, (text, ids)) in enumerate(zip(subject.questions, subject.encoded, strict=True))
    ]
