"""The routes of the reward service, what each answers, and to whom."""

from __future__ import annotations

import hmac
import json
import logging
import math
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, TypeAlias

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from lightrft_rewards.service.bodies import TooLarge, TooSlow, body_of
from lightrft_rewards.service.dialects import DIALECTS, dialect_of
from lightrft_rewards.service.requests import BadRequest, read_body, read_request
from lightrft_rewards.service.schema import ANSWER_SCHEMA, MOST_SAMPLES, REQUEST_SCHEMA, SERVICE, VERSION, answer
from lightrft_rewards.service.service import Abandoned, RewardService, TooMany, Unavailable

JSON = "application/json"

LOG = logging.getLogger("lightrft_rewards.service")
Answer: TypeAlias = Callable[[bytes, float, Request], Awaitable[Response]]

CODES: Mapping[type[Exception], int] = {BadRequest: 400, TooSlow: 408, TooLarge: 413, TooMany: 413, Unavailable: 503}
OF_STATUS = {"error": 500, "timeout": 500, "rejected": 422}
"""HTTP's words for samples without a score, in dialects that have none of their own."""


def build_app(service: RewardService, key: str | None) -> FastAPI:
    """POST /v1/score, POST / and /get_reward (dialects), GET /health and /metrics.

    key: the token that all but /health ask for; None for a service that is open to everybody who reaches it.
    """
    app = FastAPI(title="LightRFT reward service", version=str(VERSION), docs_url=None, redoc_url=None)

    async def score(body: bytes, arrived: float, request: Request) -> Response:
        asked = read_request(read_body(body))
        results = await service.judge(asked, arrived, lambda: _gone(request))
        return _json(200, answer(asked.request_id, service.fingerprint, results))

    async def score_in_dialect(body: bytes, arrived: float, request: Request) -> Response:
        content = read_body(body)
        dialect = dialect_of(content)
        results = await service.judge(dialect.read(content), arrived, lambda: _gone(request))
        failed = [result for result in results if result.status != "ok"]
        if failed:
            first = failed[0]
            why = f"{len(failed)} of {len(results)} could not be judged; {dialect.queries}[{first.id}]: {first.error}"
            return _json(OF_STATUS[first.status], {"error": why})
        return _json(200, dialect.answer([result.outcome for result in results]))

    def judged_by(handle: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            arrived = time.monotonic()
            service.open_requests += 1
            try:
                response = await _answered(service, key, handle, arrived, request)
            finally:
                service.open_requests -= 1
            service.metrics.count_answer(response.status_code, time.monotonic() - arrived)
            return response

        return endpoint

    described = {"requestBody": {"content": {JSON: {"schema": REQUEST_SCHEMA}}, "required": True}}
    told: dict[int | str, dict[str, Any]] = {200: {"content": {JSON: {"schema": ANSWER_SCHEMA}}}}
    native = judged_by(score)
    app.post("/v1/score", response_model=None, openapi_extra=described, responses=told)(native)
    for path in ("/", "/get_reward"):
        app.post(path, response_model=None)(judged_by(score_in_dialect))

    @app.get("/health", response_model=None)
    async def health(request: Request) -> Response:
        content: dict[str, Any] = {"service": SERVICE, "version": VERSION, "status": service.state}
        if _welcome(request, key):
            content |= {
                "fingerprint": service.fingerprint,
                "dialects": ["native", *DIALECTS],
                "max_samples": min(MOST_SAMPLES, service.limits.max_queue),
                "max_request_bytes": service.limits.max_request_bytes,
                "queue": service.queue_length,
                "busy_seconds": service.busy_seconds,
            }
        return _json(200 if service.state == "ready" else 503, content)

    @app.get("/metrics", response_model=None)
    async def metrics(request: Request) -> Response:
        if not _welcome(request, key):
            return _unwelcome()
        gauges = {
            "queue_samples": ("Samples that wait.", float(service.queue_length)),
            "open_requests": ("Requests being answered.", float(service.open_requests)),
            "held_bytes": ("Bytes of the bodies being answered.", float(service.held_bytes)),
            "busy_seconds": ("How long the scorer has been at its present batch.", service.busy_seconds),
            "ready": ("1 while requests are taken.", float(service.state == "ready")),
        }
        return Response(service.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _json(error.status_code, {"error": f"{request.method} {request.url.path}: {error.detail}"})

    return app


async def _answered(
    service: RewardService, key: str | None, handle: Answer, arrived: float, request: Request
) -> Response:
    """The answer, whatever happens."""
    if not _welcome(request, key):
        return _unwelcome()
    try:
        service.require_ready()
        if request.headers.get("content-encoding", "identity") != "identity":
            return _json(415, {"error": "the body is compressed: send it as it is"})
        async with body_of(request, service) as body:
            return await handle(body, arrived, request)
    except Unavailable as error:
        headers = {"retry-after": str(math.ceil(error.after))}
        return _json(503, {"error": str(error), "status": service.state, "retry_after": error.after}, headers)
    except (ClientDisconnect, Abandoned):
        return Response(status_code=499)
    except Exception as error:  # noqa: BLE001
        code = next((code for kind, code in CODES.items() if isinstance(error, kind)), 500)
        if code != 500:
            return _json(code, {"error": str(error)}, {"connection": "close"} if code in (408, 413) else {})
        where = traceback.extract_tb(error.__traceback__)[-1]
        LOG.error("a request failed: %s in %s, line %s", type(error).__name__, where.filename, where.lineno)
        return _json(500, {"error": f"the reward service failed: {type(error).__name__}"})


async def _gone(request: Request) -> None:
    """Ends when the client has gone. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _welcome(request: Request, key: str | None) -> bool:
    if key is None:
        return True
    given, expected = request.headers.get("authorization", ""), f"Bearer {key}"
    return hmac.compare_digest(sha256(given.encode()).digest(), sha256(expected.encode()).digest())


def _unwelcome() -> Response:
    error = {"error": "this reward service asks for its token: send it as Authorization: Bearer TOKEN"}
    return _json(401, error, {"www-authenticate": "Bearer"})


def _json(code: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(text, code, dict(headers or {}), media_type=JSON)
