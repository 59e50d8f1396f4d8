"""Who may use the page: whoever knows its secret, from the page itself, and nobody else on the machine or the web."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer: no script but the page's own, no other origin, nothing kept."""


class Guard:
    """An ASGI application that lets requests below /SECRET/ through to another, which sees the rest of their path.

    hosts: what a request's Host may be, so that no other name can be made to lead here (DNS rebinding); empty: any.
    """

    def __init__(self, app: App, secret: str, hosts: frozenset[str]) -> None:
        self.app, self.secret, self.hosts = app, secret, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        problem = self._problem(scope)
        if problem:
            await _refuse(problem, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.decode() not in HEADERS]
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": kept + own}
            await send(message)

        path = scope["path"][len(self.secret) + 1 :]
        await self.app({**scope, "path": path, "raw_path": path.encode()}, receive, guarded)

    def _problem(self, scope: Scope) -> str:
        """Why a request is refused; "" if it is not."""
        given: dict[str, str] = {}
        for name, value in scope["headers"]:
            given[name.decode("latin-1").lower()] = value.decode("latin-1")
        host = given.get("host", "")
        if self.hosts and host not in self.hosts:
            return "this page is not known by that name"
        if given.get("origin", f"http://{host}") != f"http://{host}":
            return "another page may not use this one"
        if given.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "open this page by its whole address, from no other page"
        secret, slash, _ = scope["path"].removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(secret.encode(), self.secret.encode()):
            return "open this page by its whole address, as lightrft chat printed it: it ends in a secret and a slash"
        return ""


async def _refuse(problem: str, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    headers += [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": (problem + "\n").encode()})
