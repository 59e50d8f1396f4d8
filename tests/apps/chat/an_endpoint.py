"""An endpoint of the tests: a server on this machine that speaks OpenAI's chat API as it is told to."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-of-the-tests"


@dataclass
class Endpoint:
    """url: its base. requests: (path, headers, body) of each. reply: "words", "echo" or what is to go wrong."""

    url: str = ""
    reply: str = "words"
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    """Says nothing of those who have gone."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        assert isinstance(sys.exception(), ConnectionError)


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """One that runs while the block does."""
    here = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            here.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            _reply(self, here.reply, body)

    server = _Server(("127.0.0.1", 0), Handler)
    here.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _reply(handler: BaseHTTPRequestHandler, reply: str, body: dict[str, Any]) -> None:
    if reply in ("401", "429", "500"):
        content = json.dumps({"error": {"message": f"no, not with {handler.headers['authorization']}"}}).encode()
        handler.send_response(int(reply))
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        return
    if reply == "silent":
        time.sleep(100)
        return
    if reply == "refused at length":
        handler.send_response(400)
        handler.end_headers()
        _without_end(handler, b"x" * 65536)
        return
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.end_headers()
    if reply == "one endless line":
        _without_end(handler, b"data: " + b"x" * 65536)
        return
    last = body["messages"][-1]["content"]
    asked = last if isinstance(last, str) else last[-1]["text"]
    pieces = ["It ", "is ", "5", "."] if reply != "echo" else [f"<{asked}>"]
    for piece in pieces:
        _event(handler, {"choices": [{"delta": {"content": piece}}]})
    if reply == "silent later":
        time.sleep(100)
        return
    if reply == "broken":
        return
    if reply == "nonsense":
        handler.wfile.write(b"data: {no\n\n")
        return
    if reply == "error":
        _event(handler, {"error": {"message": f"out of memory, {handler.headers['authorization']}"}})
        return
    reason = "length" if reply == "long" else "stop"
    _event(handler, {"choices": [{"delta": {}, "finish_reason": reason}]})
    _event(handler, {"choices": [], "usage": {"completion_tokens": 4}})
    handler.wfile.write(b": a comment\n\ndata: [DONE]\n\n")


def _without_end(handler: BaseHTTPRequestHandler, chunk: bytes) -> None:
    with suppress(OSError):
        while True:
            handler.wfile.write(chunk)


def _event(handler: BaseHTTPRequestHandler, content: dict[str, Any]) -> None:
    handler.wfile.write(b"data: " + json.dumps(content).encode() + b"\n\n")
    handler.wfile.flush()
