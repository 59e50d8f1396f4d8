"""What a vLLM server of ours runs in front of all routes, through vLLM's own `--middleware`: a key for each of them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from secrets import compare_digest
from typing import Any

from starlette.responses import JSONResponse

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

KEY = "VLLM_API_KEY"
"""The environment variable with the key, as vLLM names it."""


class Lock:
    """Lets nobody in without the key, /health aside: vLLM's own check leaves its development routes open."""

    def __init__(self, app: App) -> None:
        self.app, self.expected = app, f"Bearer {os.environ[KEY]}".encode()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        app = self.app
        if scope["type"] != "lifespan" and scope["path"] != "/health":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not compare_digest(given, self.expected):
                app = JSONResponse({"error": {"message": "wrong or missing API key"}}, 401)
        await app(scope, receive, send)
