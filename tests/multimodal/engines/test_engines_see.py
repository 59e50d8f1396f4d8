"""What every engine must do alike with prompts that hold media: tests/strategy/engines for eyes and ears."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from lightrft_core import FirstToken, Group, Prompt, SamplingParams, TrainingSequence, collate
from lightrft_strategy.engines.backend import Completion, Request
from lightrft_strategy.engines.sync.fingerprint import fingerprint
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received, SyncError
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.perception import EngineMedia
from lightrft_strategy.reading import Reader

from .conftest import Subject, too_many

GREEDY = SamplingParams(temperature=0, max_new_tokens=8)
FREE = SamplingParams(max_new_tokens=8, n=3)


def token_ids(groups: Sequence[Group]) -> list[list[list[int]]]:
    assert not [group.error for group in groups if group.error]
    return [[rollout.token_ids for rollout in group.rollouts] for group in groups]


def test_greedy_answers_are_those_of_transformers(subject: Subject) -> None:
    answers = token_ids(subject.served.generate(subject.prompts, GREEDY, step=1))
    assert answers == token_ids(subject.embedded.generate(subject.prompts, GREEDY, step=1))
    assert len({tuple(answer) for (answer,) in answers}) == len(answers), "every prompt has an answer of its own"
    for prompt, (answer,) in zip(subject.prompts, answers, strict=True):
        if lasts_longer_than_wide(prompt):
            continue  # Transformers 5.19 lets the text behind it begin before its end
        ids = torch.tensor([prompt.token_ids])
        kinds = sum(
            number * (ids == subject.adapter.kinds.get(kind, -1)).int() for number, kind in ((1, "image"), (2, "video"))
        )
        own = subject.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **({"mm_token_type_ids": kinds} if subject.adapter.family.axes > 1 else {}),
            **(subject.adapter.inputs(prompt.media) if prompt.media else {}),
            max_new_tokens=GREEDY.max_new_tokens,
            min_new_tokens=GREEDY.max_new_tokens,
            do_sample=False,
            suppress_tokens=list(subject.adapter.placeholders),
            eos_token_id=-1,
        )
        assert answer == own[0, ids.shape[1] :].tolist()


def lasts_longer_than_wide(prompt: Prompt) -> bool:
    return any(medium.modality == "video" and medium.fps < 1 for medium in prompt.media)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "law",
    [GREEDY, FREE, replace(FREE, temperature=0.6), replace(FREE, first_token=FirstToken())],
    ids=["greedy", "free", "cool", "behind a bold first token"],
)
def test_log_probabilities_are_those_the_trainer_computes(subject: Subject, law: SamplingParams) -> None:
    groups = subject.served.generate(subject.prompts, law, step=2)
    assert not [group.error for group in groups if group.error]
    rollouts = [(group.prompt, rollout) for group in groups for rollout in group.rollouts]
    actor = LanguageActor(subject.model, law.temperature or 1.0, reader=Reader(subject.adapter))
    with torch.no_grad():
        scored = actor(collate([sequence(prompt, rollout) for prompt, rollout in rollouts])).logprobs
    begin = 0 if law.first_token is None else 1
    for (_, rollout), ours in zip(rollouts, scored.split([len(one.token_ids) for _, one in rollouts]), strict=True):
        gap = (ours - torch.tensor(rollout.logprobs)).abs()[begin:] * min(law.temperature or 1.0, 1.0)
        assert len(gap) >= 7
        assert gap.max() < 1e-4


def sequence(prompt: Prompt, rollout: Any) -> TrainingSequence:
    none = torch.zeros(len(rollout.token_ids))
    return TrainingSequence(prompt.token_ids, rollout.token_ids, rollout.loss_mask, 1.0, none, none, media=prompt.media)


def test_the_engine_reads_the_very_tokens_that_the_trainer_learns_from(subject: Subject) -> None:
    got: dict[int, Completion] = {}
    shown = [subject.adapter.for_engine(prompt) for prompt in subject.prompts]
    requests = [
        Request(one.token_ids, GREEDY, 7, one.media, hashes(prompt))
        for one, prompt in zip(shown, subject.prompts, strict=True)
    ]
    subject.served.backend.complete(requests, got.__setitem__)
    for index, prompt in enumerate(subject.prompts):
        if prompt.media:
            read = got[index].prompt_ids or ()
            text = [i for i, token in enumerate(prompt.token_ids) if token not in subject.adapter.placeholders]
            assert len(read) == len(prompt.token_ids)
            assert [read[i] for i in text] == [prompt.token_ids[i] for i in text]
            assert len(shown[index].token_ids) < len(prompt.token_ids)


def hashes(prompt: Prompt) -> dict[str, list[str]]:
    kinds = dict.fromkeys(medium.modality for medium in prompt.media)
    return {kind: [medium.sha256 for medium in prompt.media if medium.modality == kind] for kind in kinds}


@pytest.mark.parametrize("temperature", [0, 1.0, 5.0], ids=["greedy", "free", "hotter than vLLM takes"])
def test_placeholders_are_never_drawn_however_likely_they_are(subject: Subject, temperature: float) -> None:
    wanted = dict.fromkeys(subject.adapter.placeholders, 90.0)
    law = SamplingParams(temperature=temperature, max_new_tokens=6, n=2, logit_bias=wanted)
    answers = token_ids(subject.served.generate(subject.prompts, law, step=3))
    assert not {token for rows in answers for row in rows for token in row} & wanted.keys()


def test_the_key_of_an_answer_decides_it_and_its_media_do(subject: Subject) -> None:
    answers = token_ids(subject.served.generate(subject.prompts, FREE, step=4))
    assert token_ids(subject.served.generate(subject.prompts[::-1], FREE, step=4)) == answers[::-1]
    one, *_ = (prompt for prompt in subject.prompts if len(prompt.media) > 1)
    others = replace(one, media=one.media[::-1])
    if subject.adapter.encode(one.messages, others.media)[1] == one.token_ids:
        assert token_ids(subject.served.generate([others], GREEDY, step=4)) != token_ids(
            subject.served.generate([one], GREEDY, step=4)
        )


def test_a_prompt_with_too_many_media_costs_its_own_group_alone(subject: Subject) -> None:
    groups = subject.served.generate([*subject.prompts[:2], too_many(subject)], GREEDY, step=5)
    assert [bool(group.error) for group in groups] == [False, False, True]
    assert "crowded" in groups[2].error


def test_a_prompt_that_the_engine_reads_otherwise_is_an_error(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = subject.adapter.for_engine
    (prompt, *_) = (prompt for prompt in subject.prompts if prompt.media)

    def longer(prompt: Prompt) -> EngineMedia:
        shown = honest(prompt)
        return replace(shown, token_ids=(*shown.token_ids, shown.token_ids[-1]))

    monkeypatch.setattr(subject.adapter, "for_engine", longer)
    (group,) = subject.served.generate([prompt], GREEDY, step=6)
    ours = len(prompt.token_ids)
    assert f"it read {ours + 1} tokens where the trainer has {ours}" in group.error


@contextmanager
def shaken(subject: Subject, part: str, *, by: float = 0.05) -> Iterator[None]:
    """With other weights in the tower, or in the decoder."""
    towers = tuple({name for names in subject.adapter.towers.values() for name in names})
    named = {
        name: weight
        for name, weight in subject.model.named_parameters()
        if name.startswith(towers) == (part == "tower")
    }
    assert named
    before = {name: weight.detach().clone() for name, weight in named.items()}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in named.values():
            weight += by * torch.randn(weight.shape, generator=generator)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in named.items():
                weight.copy_(before[name])


@pytest.mark.parametrize("part", ["tower", "decoder"])
def test_new_weights_change_the_answers_as_they_do_in_transformers(subject: Subject, part: str) -> None:
    old = subject.served.generate(subject.prompts, GREEDY, step=1)
    with shaken(subject, part):
        subject.served.load_weights(1)
        new = subject.served.generate(subject.prompts, GREEDY, step=1)
        assert token_ids(new) == token_ids(subject.embedded.generate(subject.prompts, GREEDY, step=1))
    subject.served.load_weights(2)
    again = subject.served.generate(subject.prompts, GREEDY, step=1)
    assert token_ids(again) == token_ids(old)
    for before, after in zip(old, new, strict=True):
        moved = before.rollouts[0].logprobs != pytest.approx(after.rollouts[0].logprobs, abs=1e-3)
        assert moved == (part == "decoder" or bool(before.prompt.media))


def test_a_hand_over_covers_the_towers_and_finds_out_one_that_stays_behind(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = list(subject.served.source.tensors())
    sent = {one.names[0]: one.tensor for one in published}
    assert sum(len(one.names) for one in published) == len(subject.model.state_dict())
    receive = subject.served.backend.receive
    heard: list[Received] = []

    def watched(version: int, tensors: Iterable[Published]) -> list[Received]:
        heard[:] = receive(version, tensors)
        return heard

    monkeypatch.setattr(subject.served.backend, "receive", watched)
    subject.served.load_weights(7)
    assert heard[0].fingerprints == {name: fingerprint(tensor) for name, tensor in sent.items()}
    tower = next(name for name in sent if re.search("visual|vision|audio_tower", name) and name.endswith(".weight"))

    def without(version: int, tensors: Iterable[Published]) -> list[Received]:
        return receive(version, [published for published in tensors if published.names[0] != tower])

    def older(version: int, tensors: Iterable[Published]) -> list[Received]:
        return receive(
            version,
            [replace(one, tensor=one.tensor * 1.01) if one.names[0] == tower else one for one in tensors],
        )

    for lie, words in ((without, "never arrived"), (older, "arrived with other bytes")):
        monkeypatch.setattr(subject.served.backend, "receive", lie)
        with pytest.raises(SyncError, match=f"{tower.replace('.', chr(92) + '.')} {words}"):
            subject.served.load_weights(8)
    monkeypatch.setattr(subject.served.backend, "receive", receive)
    subject.served.load_weights(9)
