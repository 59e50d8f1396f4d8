"""A model of this process that answers in a chat, through any of the engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from lightrft_apps.chatting.conversation import Attachment, ChatError, Conversation
from lightrft_apps.chatting.finding import Found
from lightrft_apps.chatting.growing import Growing
from lightrft_apps.chatting.manner import Manner, continued, manner_of
from lightrft_apps.config import ConfigError
from lightrft_apps.config.chat import ChatCommand
from lightrft_apps.engines.own import AnyEngine, EngineNeeds, open_engine
from lightrft_apps.models import compose, loading
from lightrft_apps.models.precision import compute_dtype
from lightrft_apps.models.senses import Senses
from lightrft_core import Media, Message, Prompt, Rollout, SamplingParams
from lightrft_strategy.data.render import encode, templated_text
from lightrft_strategy.devices import device
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.refusals import unreadable
from lightrft_strategy.engines.served import ServedEngine
from lightrft_strategy.engines.vllm.in_process import VllmInProcess
from lightrft_strategy.lora import merged
from lightrft_strategy.training.optimiser import set_precision

MOST_MEDIA = 8
"""Of each modality, as many as an engine that has to know beforehand makes room for in a conversation."""


@contextmanager
def load_speaker(
    command: ChatCommand,
    found: Found,
    *,
    longest: int = 0,
    media: Mapping[str, int] | None = None,
    progress: Callable[[int], None] = lambda finished: None,
    say: Callable[[str], None],
) -> Iterator[LocalSpeaker]:
    """The model that was found with its engine, which ends with the block.

    longest: tokens of the longest prompt, and media: the most of any, where they are known; a conversation's otherwise.
    Raises ConfigError if model, adapter or engine cannot be used.
    """
    of, answers = command.who.model(found.pretrain), command.answers
    senses = senses_of(command, found)
    model = loading.load_model(of)
    if found.adapter is not None:
        try:
            model = merged(model, found.adapter)
        except ImportError as error:
            raise ConfigError(["an adapter needs the package peft: install lightrft-strategy[lora]"]) from error
        except (FileNotFoundError, ValueError) as error:
            raise ConfigError([f"{found.name}: {error}"]) from error
    model = model.to(device())
    set_precision(model, compute_dtype(of))
    law = compose.law_of(answers)
    needs = EngineNeeds(
        (longest or command.talk.prompt_max_len) + law.max_new_tokens,
        (law,),
        answers.seed,
        answers.micro_rollout_batch_size,
        _usual_media(command, senses, model.config.model_type) if media is None else media,
    )
    with open_engine(command.engine, of, model, senses, needs, progress=progress, say=say) as engine:
        engine.load_weights(0)
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        yield LocalSpeaker(
            found.name,
            engine,
            senses,
            manner_of(command.talk, found, senses),
            longest=min(command.talk.prompt_max_len, positions or command.talk.prompt_max_len),
            positions=positions,
        )


def senses_of(command: ChatCommand, found: Found) -> Senses:
    """What the model reads with: the tokenizer beside an adapter, if there is one, goes before that of its model."""
    senses = loading.load_senses(command.who.model(found.pretrain))
    if found.adapter is None or senses.adapter is not None or not _has_tokenizer(found.adapter):
        return senses
    return Senses(loading.load_tokenizer(command.who.model(str(found.adapter))))


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer_config.json").is_file()


def _usual_media(command: ChatCommand, senses: Senses, model_type: str) -> dict[str, int]:
    """How many media of each modality a conversation may have; none of what the engine cannot be given."""
    engine = command.engine
    served = bool(engine.engine_server or engine.engine_url)
    readable = {} if senses.adapter is None else dict.fromkeys(senses.adapter.towers, MOST_MEDIA)
    return {
        modality: count
        for modality, count in readable.items()
        if not unreadable(engine.engine_type, served=served, media={modality: count}, model_type=model_type)
    }


class LocalSpeaker:
    """A Speaker over an engine: one in this process, but SGLang, tells every token, the others answer at once.

    longest: tokens of the longest conversation. positions: tokens that the model reads at most, None: any number.
    What it has read of an attachment is kept as long as somebody holds the attachment, which a conversation does.
    """

    def __init__(
        self, name: str, engine: AnyEngine, senses: Senses, manner: Manner, *, longest: int, positions: int | None
    ) -> None:
        self.name, self.engine, self.senses, self.manner = name, engine, senses, manner
        self.longest, self.positions = longest, positions
        self.encoder = senses.encoder
        self._read = WeakKeyDictionary[Attachment, Media]()

    @property
    def modalities(self) -> tuple[str, ...]:
        return () if self.encoder is None else self.encoder.modalities

    def prompt(self, conversation: Conversation, place: int, *, label: Any = None) -> Prompt:
        """As Speaker's. A conversation is named by its place alone: seed and step key its randomness."""
        messages, media = conversation.messages(place, self._medium, self.manner.around)
        try:
            text, token_ids = self._written(messages, media)
        except ValueError as error:
            raise ChatError(f"{self.name}: this conversation {error}") from error
        room = self.longest if self.positions is None else min(self.longest, self.positions - 1)
        if len(token_ids) > room:
            raise ChatError(
                f"the conversation has {len(token_ids)} tokens, more than the {room} that {self.name} is given "
                "(--prompt_max_len): take something back (/undo) or begin again (/reset)"
            )
        return Prompt("chat", messages, text, tuple(token_ids), label, media=media)

    def answer(
        self, prompt: Prompt, law: SamplingParams, *, seed: int, step: int, hear: Callable[[str], None]
    ) -> Rollout:
        """As Speaker's. An answer gets no more tokens than the model can read.

        An engine that fails, a device whose memory is full among that, is a ChatError too: what was said can be saved.
        """
        engine, growing = self.engine, Growing(self.engine.decode)
        engine.seed = seed
        if isinstance(engine, EmbeddedEngine):
            engine.on_token = lambda prompt, sample, token: _hear(hear, growing.more(token))
        elif isinstance(engine, ServedEngine) and isinstance(engine.backend, VllmInProcess):
            engine.backend.on_token = lambda request, token: _hear(hear, growing.more(token))
        if self.positions is not None:
            most = min(law.max_new_tokens, self.positions - len(prompt.token_ids))
            law = replace(law, max_new_tokens=most, min_new_tokens=min(law.min_new_tokens, most))
        try:
            (group,) = engine.generate([prompt], law, step=step)
        except (RuntimeError, TimeoutError, ValueError) as error:
            raise ChatError(f"{self.name} could not answer: {type(error).__name__}: {error}") from error
        if group.error:
            raise ChatError(group.error)
        (rollout,) = group.rollouts
        _hear(hear, rollout.text.removeprefix(growing.text))
        return rollout

    def stop(self) -> None:
        """As Speaker's: an engine here has nothing to wait for elsewhere."""

    def _written(self, messages: tuple[Message, ...], media: tuple[Media, ...]) -> tuple[str, tuple[int, ...]]:
        if self.encoder is not None:
            return self.encoder.encode(messages, media)
        tokenizer, templated = self.senses.tokenizer, self.manner.templated
        text = templated_text(messages, tokenizer) if templated else continued(messages)
        (token_ids,) = encode(tokenizer, [text], special_tokens=not templated)
        return text, tuple(token_ids)

    def _medium(self, attachment: Attachment) -> Media:
        if attachment.modality not in self.modalities:
            reads = ", ".join(f"{modality}s" for modality in self.modalities) or "text alone"
            raise ChatError(f"{self.name} reads {reads}: it can be given no {attachment.modality}")
        if attachment not in self._read:
            assert self.encoder is not None
            part = {"type": attachment.modality, attachment.modality: attachment.content}
            try:
                self._read[attachment] = self.encoder.read(part, root=None, urls=False)
            except ValueError as error:
                raise ChatError(f"{attachment.name}: {error}") from error
        return self._read[attachment]


def _hear(hear: Callable[[str], None], piece: str) -> None:
    if piece:
        hear(piece)
