"""What a prompt with media is written as, for the trainer and for engines of other projects."""

from __future__ import annotations

from hashlib import sha256

import pytest
import torch
from torch import Tensor

from lightrft_core import Message, Prompt
from lightrft_multimodal.media import MediaError

from .prompts import Picture, Sound, asked
from .subject import Subject


def test_prompts_are_encoded_as_the_models_own_processor_encodes_them(subject: Subject) -> None:
    for row, (_, ids) in enumerate(subject.encoded):
        assert list(ids) == subject.processed[row]["input_ids"][0].tolist()


def test_the_chat_template_is_the_processors(subject: Subject) -> None:
    for told, (text, _) in zip(subject.questions, subject.encoded, strict=True):
        turns = [{"role": message.role, "content": message.content} for message in told.messages]
        assert text == subject.adapter.processor.apply_chat_template(turns, add_generation_prompt=True)


def test_media_are_processed_alike_with_their_prompt_and_without_it(subject: Subject) -> None:
    for told, (text, _) in zip(subject.questions, subject.encoded, strict=True):
        if told.media:
            subject.adapter._heads.clear()
            subject.adapter.token_ids(text, told.media)
            with_prompt = fingerprint(subject.adapter.inputs(told.media))
            subject.adapter._inputs.clear()
            assert fingerprint(subject.adapter.inputs(told.media)) == with_prompt


ANSWERS = ("red", " It is red.", "\n\nblue", "12", "", "é 漢字", "  two  spaces ", ".")


def test_answers_behind_the_same_media_are_read_as_the_processor_reads_them_and_the_media_processed_once(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, processed = subject.adapter._process, list[str]()
    monkeypatch.setattr(subject.adapter, "_process", lambda text, media: processed.append(text) or process(text, media))
    for told, (text, _) in zip(subject.questions, subject.encoded, strict=True):
        if told.media:
            for answer in ANSWERS:
                ids = subject.adapter.token_ids(text + answer, told.media)
                assert list(ids) == subject.through_processor([text + answer], [told])["input_ids"][0].tolist()
    assert len(processed) <= len(subject.questions)


def test_engines_get_a_prompt_that_their_processor_makes_the_trainers_tokens_and_tensors_of(subject: Subject) -> None:
    adapter = subject.adapter
    for told, (text, ids) in zip(subject.questions, subject.encoded, strict=True):
        given = adapter.for_engine(Prompt("row", told.messages, text, ids, media=told.media))
        assert adapter.tokenizer.decode(given.token_ids).endswith(text)
        assert {kind: len(items) for kind, items in given.media.items()} == {
            kind: sum(medium.modality == kind for medium in told.media) for kind in given.media
        }
        assert sum(len(items) for items in given.media.values()) == len(told.media)
        expanded = subject.through_processor([adapter.tokenizer.decode(given.token_ids)], [told])
        assert expanded["input_ids"][0].tolist() == list(ids)
        if told.media:
            theirs = {name: value for name, value in expanded.items() if name in adapter.inputs(told.media)}
            theirs = adapter.family.finish(adapter.processor, told.media, theirs)
            assert fingerprint(theirs) == fingerprint(adapter.inputs(told.media))


def test_a_prompt_whose_tokens_were_cut_is_refused(subject: Subject) -> None:
    for row, media in enumerate(subject.media):
        if media:
            real = subject.ids[row][subject.mask[row].bool()]
            kept = torch.ones_like(real, dtype=torch.bool)
            kept[torch.isin(real, torch.tensor(subject.adapter.placeholders)).nonzero()[-1]] = False
            ids = real[kept][None]
            with pytest.raises(ValueError, match="embeddings: it was cut"):
                subject.adapter.perceive(subject.model, ids, torch.ones_like(ids), [media])


def test_placeholders_without_media_are_refused(subject: Subject) -> None:
    row = next(row for row, media in enumerate(subject.media) if media)
    with pytest.raises(ValueError, match="its media have 0"):
        subject.adapter.perceive(subject.model, subject.ids[row, None], subject.mask[row, None], [()])


def test_media_that_are_not_those_of_the_messages_are_refused(subject: Subject) -> None:
    for told in subject.questions:
        if told.media:
            with pytest.raises(MediaError, match="must be the same"):
                subject.adapter.encode(told.messages, told.media[:-1])


def test_a_modality_the_family_does_not_read_is_refused(subject: Subject) -> None:
    for told in (asked(Picture(1, 16, 16)), asked(Sound(1, 4000))):
        if told.media[0].modality not in subject.case.modalities:
            with pytest.raises(MediaError, match=f"reads no {told.media[0].modality}"):
                subject.adapter.encode(told.messages, told.media)


def test_text_alone_is_encoded_as_the_tokenizer_does(subject: Subject) -> None:
    text, ids = subject.adapter.encode([Message("user", "Two and two?")], ())
    assert list(ids) == subject.adapter.tokenizer(text)["input_ids"]


def test_text_that_pretends_to_be_media_is_refused(subject: Subject) -> None:
    for modality in subject.case.modalities:
        written = subject.adapter.family.written(subject.adapter.processor, modality)
        with pytest.raises(MediaError, match="1 times"):
            subject.adapter.encode([Message("user", f"What does {written} mean?")], ())


def test_media_that_the_chat_template_leaves_out_are_refused(subject: Subject) -> None:
    told = next(told for told in subject.questions if told.media)
    with pytest.raises(MediaError, match="leaves media out"):
        subject.adapter.token_ids("What is it?", told.media)


def test_answers_may_hold_every_token_but_those_of_media(subject: Subject) -> None:
    placeholders = set(subject.adapter.placeholders)
    for row, media in enumerate(subject.media):
        assert bool(placeholders & set(subject.encoded[row][1])) == bool(media)
    assert not placeholders & set(subject.adapter.tokenizer("What is 7 + 12?")["input_ids"])


def fingerprint(inputs: dict[str, Tensor]) -> str:
    """Of names, shapes, types and bytes."""
    parts = [
        f"{name} {tuple(value.shape)} {value.dtype} ".encode() + value.numpy().tobytes()
        for name, value in sorted(inputs.items())
    ]
    return sha256(b"".join(parts)).hexdigest()
