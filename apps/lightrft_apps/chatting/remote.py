"""A model elsewhere that answers in a chat: any endpoint that speaks OpenAI's /v1/chat/completions, streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from lightrft_apps.chatting.conversation import Attachment, ChatError, Conversation
from lightrft_apps.chatting.manner import Manner
from lightrft_apps.chatting.speaker import Stopped
from lightrft_apps.chatting.wire import Wire, events, told
from lightrft_apps.config.chat import RemoteArgs
from lightrft_core import FinishReason, Media, Message, Prompt, Rollout, SamplingParams
from lightrft_core.types import Part
from lightrft_multimodal.media import DEFAULT_LIMITS, load_media, to_wire
from lightrft_rewards.api_key import read_key, without_key
from lightrft_rewards.judge_prompt import shown_medium
from lightrft_rewards.llm_judge import address_of

_CONNECT_SECONDS = 10.0
_MOST_TOKENS = 1 << 22
_OF_HTTP = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
_FAILURES = (*_OF_HTTP, ValueError, RecursionError, AttributeError, TypeError)


class MediaReader:
    """Reads media for a model elsewhere, whose template and tokens nobody knows here: an Encoder of data sets."""

    modalities = ("image", "video", "audio")
    placeholders: tuple[int, ...] = ()

    def read(self, part: Part, *, root: Path | None, urls: bool) -> Media:
        """The record of a medium. Raises MediaError if it cannot be used."""
        return load_media(part, limits=replace(DEFAULT_LIMITS, urls=urls, paths=root is not None), root=root)

    def encode(
        self, messages: Sequence[Message], media: Sequence[Media], *, answer_next: bool = True
    ) -> tuple[str, tuple[int, ...]]:
        """The texts under each other, for people and judges; one token that stands for them all."""
        return "\n\n".join(map(_plain, messages)), (0,)


class RemoteSpeaker:
    """A Speaker over HTTP. The key is in no message and in no file."""

    modalities = MediaReader.modalities

    def __init__(self, args: RemoteArgs, manner: Manner) -> None:
        """Asks nobody yet. Raises RewardSetupError for a key that is not there."""
        self.name = args.remote_model or ""
        self._around = manner.around
        self._where = args.remote or ""
        self._key = read_key(args.remote_key_env)
        headers = {"content-type": "application/json", "accept": "text/event-stream", "accept-encoding": "identity"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        timeout = httpx.Timeout(args.remote_timeout, connect=min(_CONNECT_SECONDS, args.remote_timeout))
        alone = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(headers=headers, timeout=timeout, limits=alone, trust_env=False)
        self._wires = set[Wire]()
        self._reader = MediaReader()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def prompt(self, conversation: Conversation, place: int, *, label: Any = None) -> Prompt:
        """As Speaker's; its tokens are not known here."""
        messages, media = conversation.messages(place, self._medium, self._around)
        text, _ = self._reader.encode(messages, media)
        return Prompt("chat", messages, text, (), label, media=media)

    def answer(
        self, prompt: Prompt, law: SamplingParams, *, seed: int, step: int, hear: Callable[[str], None]
    ) -> Rollout:
        """As Speaker's. The endpoint draws by its own law for what it does not know, such as top_k."""
        body = request_body(self.name, prompt, law, seed + 1000 * step + prompt.occurrence)
        pieces, reason, tokens, wire = list[str](), FinishReason.STOP, 0, Wire()
        self._wires.add(wire)
        try:
            traced = {"trace": wire.trace}
            request = self._client.build_request("POST", address_of(self._where), json=body, extensions=traced)
            with closing(self._client.send(request, stream=True)) as response:
                if response.status_code != 200:
                    raise ChatError(told(response))
                for event in events(response):
                    tokens = _count(event, tokens)
                    for choice in event.get("choices") or ():
                        piece = (choice.get("delta") or {}).get("content")
                        if isinstance(piece, str) and piece:
                            pieces.append(piece)
                            hear(piece)
                        if choice.get("finish_reason") == "length":
                            reason = FinishReason.LENGTH
        except _FAILURES as error:
            if wire.is_cut:
                raise Stopped from None
            raise ChatError(self._said(_why(error))) from None
        finally:
            self._wires.discard(wire)
        return Rollout(0, [0] * tokens, [], [], reason, "".join(pieces))

    def stop(self) -> None:
        """As Speaker's: cuts the connections of all answers under way."""
        for wire in tuple(self._wires):
            wire.cut()

    def _medium(self, attachment: Attachment) -> Media:
        part = {"type": attachment.modality, attachment.modality: attachment.content}
        try:
            return self._reader.read(part, root=None, urls=False)
        except ValueError as error:
            raise ChatError(f"{attachment.name}: {error}") from error

    def _said(self, why: str) -> str:
        return without_key(f"{self.name} at {self._where}: {why}", self._key)


def _why(error: Exception) -> str:
    if isinstance(error, ChatError):
        return str(error)
    if isinstance(error, _OF_HTTP):
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"its answer is no stream of chat completions: {error}"


def request_body(model: str, prompt: Prompt, law: SamplingParams, seed: int) -> dict[str, Any]:
    """A request, with what of a law is not as endpoints do by themselves."""
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(prompt),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": law.temperature,
        "top_p": law.top_p,
        "max_tokens": law.max_new_tokens,
        "seed": seed % 2**31,
    }
    extras: Mapping[str, Any] = {
        "top_k": law.top_k,
        "min_tokens": law.min_new_tokens,
        "stop": list(law.stop),
        "stop_token_ids": list(law.stop_token_ids),
        "logit_bias": {str(token): bias for token, bias in law.logit_bias.items()},
    }
    return body | {name: value for name, value in extras.items() if value}


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    """The chat in the API's parts, media as data URLs, a video as the pictures of its frames."""
    media: Iterator[Any] = iter(prompt.media)

    def content(message: Message) -> Any:
        if isinstance(message.content, str):
            return message.content
        return [
            piece
            for part in message.content
            for piece in ([dict(part)] if part["type"] == "text" else shown_medium(to_wire(next(media))))
        ]

    return [{"role": message.role, "content": content(message)} for message in prompt.messages]


def _plain(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part["text"] if part["type"] == "text" else f"<{part['type']}>" for part in message.content)


def _count(event: Mapping[str, Any], before: int) -> int:
    count = (event.get("usage") or {}).get("completion_tokens", before)
    return count if isinstance(count, int) and 0 <= count <= _MOST_TOKENS else before
