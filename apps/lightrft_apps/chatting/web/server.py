"""The page as a server: it listens, says where, and at Ctrl-C or SIGTERM ends the answer under way and itself."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from types import FrameType

import uvicorn
from rich.console import Console

from lightrft_apps.chatting.session import Session
from lightrft_apps.chatting.web.app import Chatroom, build_app
from lightrft_apps.chatting.web.guard import Guard
from lightrft_apps.config import ConfigError
from lightrft_apps.config.chat import WebArgs

LOOPBACK = ("127.", "localhost", "::1")
CLOSE_SECONDS = 5


def serve_page(session: Session, args: WebArgs, console: Console) -> None:
    """Serve until a signal comes. Raises ConfigError if it cannot listen there."""
    listener = _listening(args)
    port: int = listener.getsockname()[1]
    at_home = args.host.startswith(LOOPBACK)
    shown = f"[{args.host}]" if ":" in args.host else args.host
    hosts = _names((shown, "localhost", "127.0.0.1"), port) if at_home else frozenset[str]()
    secret = secrets.token_urlsafe(24)
    app, room = build_app(session, args.max_upload_mb * 2**20)
    config = uvicorn.Config(
        Guard(app, secret, hosts),
        access_log=False,
        log_config=None,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    if not at_home:
        console.print(f"warning: whoever reaches {args.host} and learns the address can use this chat", markup=False)
    console.print(f"chat on http://{shown}:{port}/{secret}/   (Ctrl-C ends)", markup=False, soft_wrap=True)
    try:
        _Stoppable(config, room).run(sockets=[listener])
    finally:
        room.close()


def _names(hosts: Sequence[str], port: int) -> frozenset[str]:
    """What browsers call them in a request; they leave out the port that is HTTP's own."""
    return frozenset(f"{host}:{port}" for host in hosts) | (frozenset(hosts) if port == 80 else frozenset())


def _listening(args: WebArgs) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in args.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((args.host, args.port))
        listener.listen()
    except OSError as error:
        listener.close()
        problem = f"the page cannot listen on {args.host}, port {args.port}: {error.strerror}: take another --port"
        raise ConfigError([problem]) from error
    return listener


class _Stoppable(uvicorn.Server):
    """uvicorn's server, which stops the answer under way when it is told to end."""

    def __init__(self, config: uvicorn.Config, room: Chatroom) -> None:
        super().__init__(config)
        self.room = room

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come; a second one ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self.room.stop()
