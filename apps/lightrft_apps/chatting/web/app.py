"""What the page asks of this process, and what it is answered."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from lightrft_apps.chatting.commands import label_of, run_command
from lightrft_apps.chatting.conversation import Attachment, ChatError, Exchange
from lightrft_apps.chatting.saved import data_url, from_json, to_json
from lightrft_apps.chatting.session import Session
from lightrft_apps.chatting.settings import settings
from lightrft_apps.chatting.speaker import Stopped
from lightrft_apps.chatting.web.state import exchange_of, state_of

ON_THE_PAGE = frozenset({"system", "label", "undo", "reset", "set"})
"""Commands that the page may give: those that touch no file of this machine."""

MOST_TEXT = 2**20
MOST_WAITING = 8
FILES = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}

T = TypeVar("T")


class Busy(Exception):
    """Something else is being done."""


class TooLarge(Exception):
    """A request over its limit."""


class Chatroom:
    """The session of the page, used by one thread, one thing at a time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="chat")
        self._busy = False

    async def do(self, work: Callable[[], T]) -> T:
        """Do something with the session. Raises Busy if something is being done, and what it raises."""
        return await self.begin(work)

    def begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """The same, not waited for. Whoever no longer waits for it does not end it: `stop` does."""
        if self._busy:
            raise Busy
        self._busy = True
        self.stopping.clear()
        doing = asyncio.get_running_loop().run_in_executor(self._thread, work)
        doing.add_done_callback(self._done)
        return doing

    def stop(self) -> None:
        """Have the answer under way end."""
        self.stopping.set()
        self.session.stop()

    def close(self) -> None:
        """End what is being done."""
        self.stop()
        self._thread.shutdown()

    def _done(self, doing: asyncio.Future[Any]) -> None:
        self._busy = False
        if not doing.cancelled():
            doing.exception()


def build_app(session: Session, max_upload_bytes: int) -> tuple[FastAPI, Chatroom]:
    """The page's application, without its guard, and the room that its requests work in."""
    room = Chatroom(session)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    for path, (name, kind) in FILES.items():
        app.get(f"/{path}", response_model=None)(partial(_file, name, kind))

    @app.get("/state", response_model=None)
    async def state() -> Response:
        return _json(state_of(session))

    @app.get("/media/{exchange}/{place}", response_model=None)
    async def media(exchange: int, place: int) -> Response:
        try:
            shown = session.conversation.exchanges[exchange].attachments[place]
        except IndexError:
            return _json({"error": "there is no such medium"}, 404)
        kind = data_url(shown).partition(";")[0].removeprefix("data:")
        return Response(shown.content, media_type=kind)

    @app.post("/attach", response_model=None)
    async def attach(request: Request, modality: str, name: str) -> Response:
        content = await _body(request, max_upload_bytes)
        if modality not in ("image", "video", "audio"):
            raise ChatError(f"there are image, video and audio, and no {modality:.20}")
        if len(session.attachments) >= MOST_WAITING:
            raise ChatError(f"a question shows and plays {MOST_WAITING} things at most")
        await room.do(lambda: session.attach(Attachment(modality, name[:200], content)))
        return _json(state_of(session))

    @app.post("/detach", response_model=None)
    async def detach() -> Response:
        await room.do(session.detach)
        return _json(state_of(session))

    @app.post("/ask", response_model=None)
    async def ask(request: Request) -> Response:
        asked = await _object(request)
        text, label = asked.get("text"), asked.get("label", "")
        if not isinstance(text, str) or not isinstance(label, str):
            raise ChatError("a question is a text")
        if not text.strip() and not session.attachments:
            raise ChatError("the question is empty")
        return _streamed(room, lambda hear: session.ask(text, hear, label=label_of(label)))

    @app.post("/retry", response_model=None)
    async def retry() -> Response:
        return _streamed(room, session.retry)

    @app.post("/do", response_model=None)
    async def do(request: Request) -> Response:
        line = (await _object(request)).get("line")
        if not isinstance(line, str) or line[1:].partition(" ")[0] not in ON_THE_PAGE:
            raise ChatError(f"the page knows {', '.join(sorted(ON_THE_PAGE))}")
        await room.do(lambda: run_command(session, line, lambda place, piece: None))
        return _json(state_of(session))

    @app.post("/stop", response_model=None)
    async def stop() -> Response:
        room.stop()
        return _json({})

    @app.get("/saved", response_model=None)
    async def saved() -> Response:
        names = [speaker.name for speaker in session.speakers]
        content = json.dumps(to_json(session.conversation, names, settings(session.draw)), ensure_ascii=True)
        return Response(content, media_type="application/json")

    @app.post("/load", response_model=None)
    async def load(request: Request) -> Response:
        content = _parsed(await _body(request, MOST_WAITING * max_upload_bytes))
        await room.do(lambda: session.take(from_json(content, len(session.speakers))))
        return _json(state_of(session))

    @app.exception_handler(ChatError)
    async def refused(request: Request, error: ChatError) -> Response:
        return _json({"error": str(error)}, 422)

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> Response:
        return _json({"error": "an answer is being written: stop it first"}, 409)

    @app.exception_handler(TooLarge)
    async def large(request: Request, error: TooLarge) -> Response:
        return _json({"error": str(error)}, 413, {"connection": "close"})

    return app, room


def _streamed(room: Chatroom, speak: Callable[[Callable[[int, str], None]], Exchange]) -> Response:
    """Pieces of answers as they are written, then the whole exchange, as server-sent events."""
    loop, events = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any]]()

    def tell(event: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    def hear(place: int, piece: str) -> None:
        if room.stopping.is_set():
            raise Stopped
        tell({"place": place, "piece": piece})

    def work() -> None:
        try:
            tell({"exchange": exchange_of(speak(hear))})
        except ChatError as error:
            tell({"error": str(error)})
        except BaseException as error:
            tell({"error": f"the chat failed: {type(error).__name__}: {error}"})
            raise

    doing = room.begin(work)

    async def stream() -> AsyncIterator[bytes]:
        whole = False
        try:
            while not whole:
                event = await events.get()
                whole = "piece" not in event
                yield b"data: " + json.dumps(event, ensure_ascii=True).encode() + b"\n\n"
            await asyncio.wait([doing])
        finally:
            if not whole:
                room.stop()

    return StreamingResponse(stream(), media_type="text/event-stream")


async def _file(name: str, kind: str) -> Response:
    return Response(files(__package__).joinpath(name).read_bytes(), media_type=f"{kind}; charset=utf-8")


async def _body(request: Request, most: int) -> bytes:
    """The body. Raises TooLarge."""
    chunks, size = list[bytes](), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise TooLarge(f"this is larger than {most / 2**20:g} MiB (--max_upload_mb)")
        chunks.append(chunk)
    return b"".join(chunks)


async def _object(request: Request) -> dict[str, Any]:
    content = _parsed(await _body(request, MOST_TEXT))
    if not isinstance(content, dict):
        raise ChatError("the request is no object")
    return content


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ChatError(f"this is not JSON: {error}") from error


def _json(content: dict[str, Any], code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content, ensure_ascii=True), code, headers, media_type="application/json")
