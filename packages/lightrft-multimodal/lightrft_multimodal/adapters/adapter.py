"""A model that sees or hears, between what its processor makes of media and what its decoder reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lightrft_core import Media, Message, Prompt
from lightrft_multimodal.adapters.blank import BlankImage, BlankSound
from lightrft_multimodal.adapters.decoded import decoded, processor_arguments
from lightrft_multimodal.adapters.family import Family, Inputs, Key, Seen, Tower
from lightrft_multimodal.adapters.places import Row, places_of
from lightrft_multimodal.adapters.recent import Recent
from lightrft_multimodal.adapters.rendered import rendered
from lightrft_multimodal.media import MediaError
from lightrft_strategy.language import without_dropout
from lightrft_strategy.perception import EngineMedia, Perception

INPUTS_BYTES = FEATURES_BYTES = 1 << 30
"""What processed media may take in the host's memory, and the embeddings of each model's frozen towers on a device."""
_HEADS_BYTES = 1 << 26
"""What token ids up to a text's last medium may take in memory."""
_LOOKED_AT = 8
"""Letters behind the last medium by which the tokenizer may read it otherwise."""
_NOT_MEDIA = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


class MediaAdapter:
    """The Adapter of a family of models and a checkpoint's processor and config.

    inputs_bytes: what processed media may take in memory; features_bytes: their embeddings, of each model whose towers
    do not learn.
    """

    def __init__(
        self,
        family: Family,
        processor: Any,
        config: Any,
        *,
        inputs_bytes: int = INPUTS_BYTES,
        features_bytes: int = FEATURES_BYTES,
    ) -> None:
        self.family, self.processor, self.config = family, processor, family.config(config)
        self.kinds = dict(family.placeholders(self.config))
        self.placeholders = tuple(dict.fromkeys(self.kinds.values()))
        root = f"{family.root}." if family.root else ""
        self.towers: Mapping[str, tuple[str, ...]] = {
            modality: tuple(root + name for name in tower.modules)
            for tower in family.towers
            for modality in tower.modalities
        }
        self._inputs = Recent[Inputs](inputs_bytes, lambda inputs: sum(tensor.nbytes for tensor in inputs.values()))
        self._heads = Recent[tuple[int, ...]](_HEADS_BYTES, lambda ids: 36 * len(ids))
        self._features_bytes = features_bytes
        self._features: WeakKeyDictionary[nn.Module, Recent[Mapping[str, Seen]]] = WeakKeyDictionary()
        self._blank: dict[str, Inputs] = {}

    @property
    def tokenizer(self) -> Any:
        """The tokenizer within the processor."""
        return self.processor.tokenizer

    @property
    def sampling_rate(self) -> int | None:
        """Samples a second of the sounds it hears; None if it hears none."""
        return int(self.processor.feature_extractor.sampling_rate) if "audio" in self.towers else None

    def encode(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool = True
    ) -> tuple[str, tuple[int, ...]]:
        """A conversation in the chat template as text and token ids.

        answer_next: up to where the assistant begins its next turn; else up to the end of the last message.
        The text has each medium as the template writes it, the ids as many placeholders as it has embeddings.
        Raises MediaError if media are not those of the messages' parts, in their order, or the processor refuses them;
        jinja2.TemplateError if the template refuses the conversation.
        """
        text = rendered(self.processor, messages, media, prompt=answer_next)
        return text, self.token_ids(text, media)

    def token_ids(self, text: str, media: Sequence[Media]) -> tuple[int, ...]:
        """A rendered text with its media's placeholders expanded.

        Texts that go on differently behind the same media (answers to one question) have their media processed once, if
        the tokenizer reads what stands behind the last medium as it reads it alone.
        Raises MediaError if the text has not one placeholder for each, or the processor refuses them.
        """
        self._check_written(text, media)
        if not media:
            return self._process(text, media)[0]
        end = max(text.rfind(written) + len(written) for written in self._written if written in text)
        key, rest = (text[: end + _LOOKED_AT], _key(media)), self._plain_ids(text[end:])
        head = self._heads.get(key)
        if head is not None:
            return head + rest
        ids, inputs = self._process(text, media)
        self._inputs.keep(_key(media), inputs)
        if ids[len(ids) - len(rest) :] == rest:
            self._heads.keep(key, ids[: len(ids) - len(rest)])
        return ids

    @property
    def _written(self) -> list[str]:
        return [self.family.written(self.processor, modality) for modality in self.towers]

    def _plain_ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False, return_attention_mask=False)["input_ids"])

    def _check_written(self, text: str, media: Sequence[Media]) -> None:
        given = Counter(medium.modality for medium in media)
        for modality in given.keys() - self.towers.keys():
            raise MediaError(f"{type(self.processor).__name__} reads no {modality}: leave it out of the prompt")
        for modality in self.towers:
            written = self.family.written(self.processor, modality)
            if text.count(written) != given[modality]:
                raise MediaError(
                    f"its text has {text.count(written)} times {written}, which stands for one {modality}, and there "
                    f"are {given[modality]}: either the chat template leaves media out or a message's text has it"
                )

    def inputs(self, media: Sequence[Media]) -> Inputs:
        """The processor's tensors of a prompt's media, on the CPU, kept from encode if they were not too many."""
        inputs = self._inputs.get(_key(media))
        if inputs is None:
            text = "".join(self.family.written(self.processor, medium.modality) for medium in media)
            inputs = self._process(text, media)[1]
            self._inputs.keep(_key(media), inputs)
        return inputs

    def blank(self, modality: str) -> Inputs:
        """The processor's tensors of something small that shows or plays nothing."""
        medium: Media = BlankImage() if modality == "image" else BlankSound(self.sampling_rate or 0)
        return self._process(self.family.written(self.processor, modality), (medium,))[1]

    def _process(self, text: str, media: Sequence[Media]) -> tuple[tuple[int, ...], Inputs]:
        with torch.inference_mode(False):
            processed = self._processed(text, processor_arguments(decoded(self.processor, media)))
            inputs = {name: torch.as_tensor(value) for name, value in processed.items() if name not in _NOT_MEDIA}
            if media:
                inputs = self.family.finish(self.processor, media, inputs)
        return tuple(processed["input_ids"][0].tolist()), inputs

    def _processed(self, text: str, arguments: Mapping[str, Any]) -> Any:
        try:
            return self.processor(
                text=[text], add_special_tokens=self._begins_bare(text), return_tensors="pt", **arguments
            )
        except (ValueError, IndexError, StopIteration, RuntimeError) as error:
            told = str(error).partition("\n")[0]
            raise MediaError(f"{type(self.processor).__name__} refuses the media: {told}") from error

    def _begins_bare(self, text: str) -> bool:
        """Whether the tokenizer adds its special tokens to a rendered text: as transformers' processors decide."""
        begin = self.tokenizer.bos_token
        return begin is None or not text.startswith(begin)

    def for_engine(self, prompt: Prompt) -> EngineMedia:
        """The prompt as engines of other projects take it: prompt.text is what encode gave."""
        special = self._begins_bare(prompt.text)
        ids = self.tokenizer(prompt.text, add_special_tokens=special, return_attention_mask=False)["input_ids"]
        return EngineMedia(tuple(ids), decoded(self.processor, prompt.media))

    def decoder(self, model: Any) -> nn.Module:
        """The part of a model, or of its base model, that maps inputs_embeds to last_hidden_state."""
        part: nn.Module = model.base_model.get_submodule(self.family.decoder)
        return part

    def headless(self, model: Any) -> nn.Module:
        """What of a model is left without its output head. Of a family without a base model the head is taken off."""
        left: nn.Module = self.family.headless(model)
        return left

    def load_model(
        self, pretrain: str | Path, *, attn_implementation: str | None = None, trust_remote_code: bool = False
    ) -> Any:
        """The checkpoint's whole model, in float32 and without dropout (as load_language_model)."""
        model = self.family.model_class().from_pretrained(
            pretrain, dtype=torch.float32, attn_implementation=attn_implementation, trust_remote_code=trust_remote_code
        )
        return without_dropout(model)

    def tower_work(self, model: Any) -> dict[int, float]:
        """Multiply-adds of a tower's forward pass for one embedding, by the token id that it stands at."""
        work = dict[int, float]()
        for tower in self.family.towers:
            named = [pair for pair in model.base_model.named_parameters() if pair[0].startswith(tower.prefixes)]
            sizes = [(weight.numel(), _merges(name)) for name, weight in named if weight.ndim >= 2]
            merged = tower.merged(self.config)
            for kind, token in self.kinds.items():
                if kind in tower.modalities:
                    work[token] = sum(size * (1.0 if merges else merged.get(kind, 1.0)) for size, merges in sizes)
        return work

    def perceive(
        self, model: Any, ids: Tensor, mask: Tensor, media: Sequence[Sequence[Media]], *, every_tower: bool = False
    ) -> Perception:
        """Run the towers once over the media of prompts, ids and mask [prompts, time], padded on either side.

        media: of each prompt. Gradients reach towers that learn; embeddings of towers that do not are kept from call to
        call, known by the media's hashes and the model object, as long as they fit.
        every_tower: run all of them, those without anything to read on something small whose embeddings, times zero,
        are `nothing`, and keep no embeddings.
        Raises ValueError if a prompt's placeholders are not as many as its media's embeddings.
        """
        base, keys = model.base_model, [_key(one) for one in media]
        distinct = {key: one for key, one in zip(keys, media, strict=True) if one}
        inputs = {key: self.inputs(one) for key, one in distinct.items()}
        seen: dict[Key, dict[str, Seen]] = {key: {} for key in keys}
        nothing: Tensor | None = None
        for index, tower in enumerate(self.family.towers):
            readers = {key: inputs[key] for key, one in distinct.items() if _reads(tower, one)}
            if readers:
                for key, features in self._run(base, index, readers, keep=not every_tower).items():
                    seen[key].update(features)
            elif every_tower:
                zero = self._run_blank(base, tower)
                nothing = zero if nothing is None else nothing + zero
        return self._perception(base, ids, mask, [Row(seen[key], inputs.get(key, {}), key) for key in keys], nothing)

    def _perception(
        self, base: Any, ids: Tensor, mask: Tensor, rows: Sequence[Row], nothing: Tensor | None
    ) -> Perception:
        places, together = places_of(ids.cpu(), mask.cpu().bool(), rows, self.kinds)
        positions = torch.zeros(self.family.axes, *ids.shape, dtype=torch.long)
        following = torch.zeros(len(ids), dtype=torch.long)
        for row, (own, real, one) in enumerate(zip(ids.cpu(), mask.cpu().bool(), rows, strict=True)):
            clock = torch.arange(int(real.sum()))
            if self.family.positions is not None and one.inputs:
                clock = self.family.positions(base, own[real], one.inputs)
            positions[:, row, real] = clock
            following[row] = int(clock.max()) + 1 if clock.numel() else 0
        features = [one.features for one in together]
        layers = zip(*(one.deep for one in together), strict=True)
        blocks = self.family.blocks
        return Perception(
            features=torch.cat(features) if features else _no_embeddings(base.get_input_embeddings(), ids),
            places=places.to(ids.device),
            positions=positions.to(ids.device),
            following=following.to(ids.device),
            deep=tuple(torch.cat(layer) for layer in layers),
            nothing=nothing,
            blocks=None if blocks is None else blocks(ids, mask, self.kinds),
        )

    def _run(
        self, base: Any, index: int, readers: Mapping[Key, Inputs], *, keep: bool
    ) -> Mapping[Key, Mapping[str, Seen]]:
        tower = self.family.towers[index]
        weights = [weight for name, weight in base.named_parameters() if f"{name}.".startswith(tower.prefixes)]
        if any(weight.requires_grad for weight in weights):
            return dict(zip(readers, tower.features(base, list(readers.values())), strict=True))
        kept = self._features.setdefault(base, Recent(self._features_bytes, _embeddings_bytes))
        written = sum(weight._version for weight in weights if not weight.is_inference())
        known = {key: kept.get((index, written, key)) for key in readers} if keep else {}
        missing = [key for key in readers if known.get(key) is None]
        with torch.inference_mode(False), torch.no_grad():
            new = tower.features(base, [readers[key] for key in missing]) if missing else ()
        for key, features in zip(missing, new, strict=True):
            known[key] = features
            if keep:
                kept.keep((index, written, key), features)
        return {key: features for key, features in known.items() if features is not None}

    def _run_blank(self, base: Any, tower: Tower) -> Tensor:
        """A zero with gradients of zero for all that the tower computes with."""
        modality = tower.modalities[0]
        if modality not in self._blank:
            self._blank[modality] = self.blank(modality)
        (seen,) = tower.features(base, [self._blank[modality]])
        parts = [(part * 0).sum() for one in seen.values() for part in (one.features, *one.deep)]
        return torch.stack(parts).sum()


def _merges(name: str) -> bool:
    """Whether a tower's weight works on embeddings, no longer on the tower's own tokens."""
    return any(part in name for part in ("merger", "projector", "connector"))


def _key(media: Sequence[Media]) -> Key:
    return tuple(medium.sha256 for medium in media)


def _reads(tower: Tower, media: Sequence[Media]) -> bool:
    return any(medium.modality in tower.modalities for medium in media)


def _embeddings_bytes(features: Mapping[str, Seen]) -> int:
    return sum(part.nbytes for one in features.values() for part in (one.features, *one.deep))


def _no_embeddings(table: Any, ids: Tensor) -> Tensor:
    """[0, dim]. (DeepSpeed would gather table.weight, which on other ranks nobody asks for.)"""
    return torch.zeros(0, table.embedding_dim, dtype=next(table.parameters()).dtype, device=ids.device)
