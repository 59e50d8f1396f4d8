"""A conversation with its media in it means the same to our adapters as to transformers' own processors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightrft_multimodal.media import MediaError

from .prompts import Asked, Clip, Picture, asked
from .subject import Subject


def test_token_ids_and_tensors_are_those_of_the_processors_own_chat_template(subject: Subject) -> None:
    for told in subject.questions:
        own = _own(subject, told)
        text, ids = subject.adapter.encode(told.messages, told.media)
        assert list(ids) == own["input_ids"][0].tolist()
        assert subject.adapter.token_ids(text, told.media) == ids
        if told.media:
            tensors = subject.adapter.family.finish(subject.adapter.processor, told.media, own)
            for name, tensor in subject.adapter.inputs(told.media).items():
                assert torch.equal(tensor, torch.as_tensor(tensors[name])), name


def test_media_that_a_processor_would_lose_beside_others_are_refused(subject: Subject) -> None:
    if not subject.case.together:
        told = asked(Picture(1, 20, 30), Clip(4, 4, 24, 16), "?")
        with pytest.raises(MediaError, match="not both in one prompt"):
            subject.adapter.encode(told.messages, told.media)


def test_what_stands_in_the_padding_is_not_read(subject: Subject) -> None:
    filled = subject.ids.masked_fill(~subject.mask.bool(), subject.adapter.placeholders[0])
    seen, among = subject.perceive(), subject.adapter.perceive(subject.model, filled, subject.mask, subject.media)
    assert torch.equal(seen.places, among.places) and torch.equal(seen.positions, among.positions)
    assert seen.blocks is None or among.blocks is None or torch.equal(seen.blocks, among.blocks)


def _own(subject: Subject, told: Asked) -> dict[str, Any]:
    """What transformers makes of messages whose parts are the media themselves."""
    media, films, turns = iter(told.media), list[dict[str, Any]](), list[dict[str, Any]]()
    for message in told.messages:
        parts = [{"type": "text", "text": message.content}] if isinstance(message.content, str) else message.content
        shown = [dict(part) if part["type"] == "text" else _content(next(media), films) for part in parts]
        turns.append({"role": message.role, "content": shown})
    arguments = {"videos_kwargs": {"video_metadata": [films], "do_sample_frames": False}} if films else {}
    output = subject.adapter.processor.apply_chat_template(
        turns,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": False, **arguments},
    )
    return dict(output.items())


def _content(medium: Any, films: list[dict[str, Any]]) -> dict[str, Any]:
    """A part of a message with the medium itself; of a video also what it is in films."""
    match medium.modality:
        case "image":
            return {"type": "image", "image": medium.image()}
        case "audio":
            return {"type": "audio", "audio": medium.waveform()}
        case _:
            seconds = medium.count / medium.fps
            frames = list(range(medium.count))
            films.append({"total_num_frames": medium.count, "fps": medium.fps, "frames_indices": frames})
            films[-1] |= {"duration": seconds, "height": medium.height, "width": medium.width}
            return {"type": "video", "video": medium.frames()}
