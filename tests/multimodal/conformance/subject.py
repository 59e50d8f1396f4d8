"""A tiny model under test, and what the model itself says of prompts, through its processor and its own forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightrft_multimodal.adapters import MediaAdapter, load_adapter
from lightrft_strategy.looking_ahead import looking_ahead_masks
from lightrft_strategy.perception import Perception

from .families import Case
from .prompts import FPS, Asked, questions


class Subject:
    """A family's adapter and tiny model in float64, and its answers to questions of all its kinds.

    ids, mask: [prompts, time] of those questions, padded on the left.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, case.build(folder)
        adapter = load_adapter(self.folder)
        assert adapter is not None
        self.adapter: MediaAdapter = adapter
        self.questions = [*questions(case.modalities, together=case.together), *case.extra]
        self.encoded = [adapter.encode(one.messages, one.media) for one in self.questions]
        self.media = [one.media for one in self.questions]
        self.ids, self.mask = padded([ids for _, ids in self.encoded], adapter.tokenizer.pad_token_id)

    @cached_property
    def model(self) -> Any:
        """The one all tests read with; whoever changes one takes fresh()."""
        return self.fresh()

    def fresh(self) -> Any:
        """A model of its own."""
        return self.adapter.load_model(self.folder).double()

    @cached_property
    def processed(self) -> list[dict[str, Tensor]]:
        """Each question through the processor, as whoever has no adapter would."""
        return [
            self.through_processor([text], [told]) for (text, _), told in zip(self.encoded, self.questions, strict=True)
        ]

    def through_processor(self, texts: Sequence[str], told: Sequence[Asked]) -> dict[str, Tensor]:
        """Rendered texts and their media through the processor."""
        arguments: dict[str, Any] = {}
        images = [[one.image() for one in _of(each, "image")] for each in told]
        videos = [[one.frames() for one in _of(each, "video")] for each in told]
        sounds = [one.waveform() for each in told for one in _of(each, "audio")]
        if any(images):
            arguments["images"] = images
        if any(videos):
            about = [[_metadata(one) for one in _of(each, "video")] for each in told]
            arguments["videos"] = videos
            arguments["videos_kwargs"] = {"video_metadata": about, "do_sample_frames": False, "fps": FPS}
        if sounds:
            arguments["audio"], arguments["audio_kwargs"] = sounds, {"sampling_rate": 16_000}
        begin = self.adapter.tokenizer.bos_token
        arguments["text_kwargs"] = {
            "padding": len(texts) > 1,
            "padding_side": "left",
            "add_special_tokens": begin is None or not texts[0].startswith(begin),
        }
        return dict(self.adapter.processor(text=list(texts), return_tensors="pt", **arguments).items())

    @cached_property
    def own(self) -> Tensor:
        """The model's own logits."""
        with torch.no_grad():
            return self.own_logits(self.model)

    def own_logits(self, model: Any) -> Tensor:
        """[prompts, time, vocabulary] of the model's own forward of each question, placed as ids are; 0 in padding."""
        time = self.ids.shape[1]
        rows = [model(**inputs).logits[0] for inputs in self.processed]
        return torch.stack([pad(row, (0, 0, time - len(row), 0)) for row in rows])

    @cached_property
    def generated(self) -> tuple[Tensor, Tensor]:
        """The positions of the questions and of the first token after each, on as many axes as the adapter has.

        As the model's own generation gives them to its decoder: [axes, prompts, time] and [axes, prompts]. Where media
        matter to them all questions go in at once, padded on the left.
        """
        at_once = self.adapter.family.axes > 1
        texts = [text for text, _ in self.encoded]
        batches = [self.through_processor(texts, self.questions)] if at_once else self.processed
        prompts, following = zip(*map(self._positions_of, batches), strict=True)
        time = self.ids.shape[1]
        return torch.cat([pad(one, (time - one.shape[-1], 0)) for one in prompts], 1), torch.cat(following, 1)

    def _positions_of(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), recorded(self.adapter.decoder(self.model)) as calls:
            self.model.generate(**inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False)
        axes = self.adapter.family.axes
        if axes > 1:
            self.model.base_model.rope_deltas = None
        given = [call["position_ids"] for call in calls[:2]]
        prompts, following = (one[-axes:] if one.ndim == 3 else one[None] for one in given)
        return prompts, following[..., -1]

    def perceive(self, rows: Sequence[int] | None = None, **options: Any) -> Perception:
        """What the adapter sees of some questions, padded as ids are."""
        which = list(range(len(self.media)) if rows is None else rows)
        media = [self.media[row] for row in which]
        return self.adapter.perceive(self.model, self.ids[which], self.mask[which], media, **options)

    def logits(self, model: Any, seen: Perception, positions: Tensor | None = None) -> Tensor:
        """[prompts, time, vocabulary] of all questions, through what the adapter gives the decoder."""
        return read(self.adapter, model, self.ids, self.mask, seen, positions)


def read(
    adapter: MediaAdapter, model: Any, ids: Tensor, mask: Tensor, seen: Perception, positions: Tensor | None = None
) -> Tensor:
    """Logits of a decoder that is given embeddings, features in place of placeholders, and positions."""
    decoder, here = adapter.decoder(model), seen.places >= 0
    embeds = decoder.get_input_embeddings()(ids.masked_fill(here, 0))
    embeds = embeds.index_put((here,), seen.features[seen.places[here]])
    if seen.nothing is not None:
        embeds = embeds + seen.nothing
    positions = seen.positions if positions is None else positions
    named: dict[str, Any] = {"position_ids": positions if len(positions) > 1 else positions[0]}
    if seen.deep:
        named |= {"visual_pos_masks": here, "deepstack_visual_embeds": [deep[seen.places[here]] for deep in seen.deep]}
    sees: Any = mask if seen.blocks is None else looking_ahead_masks(decoder.config, mask.bool(), seen.blocks)
    hidden = decoder(inputs_embeds=embeds, attention_mask=sees, use_cache=False, **named).last_hidden_state
    logits: Tensor = model.get_output_embeddings()(hidden)
    return logits


def padded(rows: Sequence[Sequence[int]], token: int, *, left: bool = True) -> tuple[Tensor, Tensor]:
    """Token ids and mask [rows, time]."""
    longest = max(map(len, rows))
    ids, mask = torch.full((len(rows), longest), token), torch.zeros(len(rows), longest, dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[number, place], mask[number, place] = torch.tensor(row), 1
    return ids, mask


@contextmanager
def recorded(module: torch.nn.Module) -> Iterator[list[dict[str, Any]]]:
    """The keyword arguments of each call of a module, in order."""
    calls: list[dict[str, Any]] = []
    handle = module.register_forward_pre_hook(lambda _, __, named: calls.append(dict(named)), with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def _of(told: Asked, modality: str) -> list[Any]:
    return [medium for medium in told.media if medium.modality == modality]


def _metadata(clip: Any) -> dict[str, Any]:
    return {
        "total_num_frames": clip.count,
        "fps": clip.fps,
        "duration": clip.count / clip.fps,
        "frames_indices": [*range(clip.count)],
    }
