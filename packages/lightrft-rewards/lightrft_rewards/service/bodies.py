"""Bodies of requests, read within bounds of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from lightrft_rewards.service.service import RewardService, Unavailable

READ_SECONDS = 60.0
"""A body that takes longer to arrive is not waited for."""

DISCARDED = 4
"""A body of up to so many times the limit is read to its end and thrown away, so that its sender hears why."""


class TooLarge(ValueError):
    """A body over the limit."""


class TooSlow(ValueError):
    """A body that did not arrive in time."""


@asynccontextmanager
async def body_of(request: Request, service: RewardService) -> AsyncIterator[bytes]:
    """The body, counted among those held until it is left.

    Raises TooLarge, TooSlow, Unavailable if too many bytes are held already, and starlette's ClientDisconnect.
    """
    limits = service.limits
    held, size = 0, 0
    chunks: list[bytes] = []
    try:
        try:
            async with asyncio.timeout(READ_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limits.max_request_bytes * DISCARDED:
                        break
                    if size > limits.max_request_bytes:
                        chunks.clear()
                        continue
                    if service.held_bytes + len(chunk) > limits.max_held_bytes:
                        raise Unavailable("too many bytes are being answered", 1.0)
                    held += len(chunk)
                    service.held_bytes += len(chunk)
                    chunks.append(chunk)
        except TimeoutError:
            raise TooSlow(f"the body did not arrive within {READ_SECONDS:g} seconds") from None
        if size > limits.max_request_bytes:
            raise TooLarge(f"the body is larger than {limits.max_request_bytes} bytes: send fewer samples at once")
        yield b"".join(chunks)
    finally:
        service.held_bytes -= held
