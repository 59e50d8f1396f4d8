"""What comes from an endpoint: events and refusals of bounded size, over a connection that another thread may cut."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import httpx

from lightrft_apps.chatting.conversation import ChatError

MOST_BYTES = 1 << 26
"""Of one answer, with all that stands around its words."""

MOST_OF_A_LINE = 1 << 22
MOST_OF_A_REFUSAL = 1 << 16
_WORDS = 300
_CONNECTED = ("connection.connect_tcp.complete", "connection.start_tls.complete")


class Wire:
    """The connection of one answer. is_cut: whether somebody has ended it."""

    def __init__(self) -> None:
        self.is_cut = False
        self._socket: socket.socket | None = None

    def trace(self, name: str, event: Mapping[str, Any]) -> None:
        """Told by httpx of what happens to the request; its connection must be one of its own."""
        if name in _CONNECTED:
            self._socket = event["return_value"].get_extra_info("socket")
            if self.is_cut:
                self.cut()

    def cut(self) -> None:
        """End the connection, which wakes whoever waits for it; from any thread."""
        self.is_cut = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The objects of server-sent events up to [DONE]. Raises ChatError for an error among them, and without an end."""
    for line in _lines(response):
        field, _, value = line.partition(":")
        if field != "data":
            continue
        if value.strip() == "[DONE]":
            return
        event = json.loads(value)
        if event.get("error"):
            raise ChatError(_words(event))
        yield event
    raise ChatError("its answer broke off before its end")


def told(response: httpx.Response) -> str:
    """A refusal in a line, in the endpoint's own words where there are any."""
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk[: MOST_OF_A_REFUSAL - len(body)]
        if len(body) == MOST_OF_A_REFUSAL:
            break
    try:
        words = _words(json.loads(body))
    except (ValueError, RecursionError):
        words = ""
    hint = {401: "; set --remote_key_env", 403: "; is the key of --remote_key_env right?"}
    missing = {404: "; is --remote the base of an API, and --remote_model a model of it?"}
    return f"HTTP {response.status_code}: {words}".removesuffix(": ") + (hint | missing).get(response.status_code, "")


def _lines(response: httpx.Response) -> Iterator[str]:
    """The lines of a body that was sent as it is. Raises ChatError for more than anybody reads."""
    whole, rest = 0, bytearray()
    for chunk in response.iter_raw():
        whole += len(chunk)
        first, *more = re.split(rb"[\r\n]", chunk)
        rest += first
        if whole > MOST_BYTES or len(rest) > MOST_OF_A_LINE:
            raise ChatError("its answer is too long")
        for part in more:
            yield rest.decode("utf-8", "replace")
            rest = bytearray(part)
    yield rest.decode("utf-8", "replace")


def _words(content: Any) -> str:
    error = content.get("error", content.get("detail", "")) if isinstance(content, Mapping) else ""
    words = error.get("message", "") if isinstance(error, Mapping) else error
    return " ".join(str(words).split())[:_WORDS]
