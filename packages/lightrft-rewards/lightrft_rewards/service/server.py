"""The reward service as a process: it listens, serves, and on SIGTERM finishes what it has and ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.scorer import Scorer
from lightrft_rewards.service.app import build_app
from lightrft_rewards.service.service import RewardService, ServiceLimits

LOG = logging.getLogger("lightrft_rewards.service")
KEEP_ALIVE_SECONDS = 75
CLOSE_SECONDS = 10.0
BACKLOG = 2048


class RewardServer:
    """A reward service and the socket it listens on.

    Until the scorer is loaded, requests are told to come again.
    """

    def __init__(
        self,
        build: Callable[[], Scorer],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        key: str | None = None,
        limits: ServiceLimits | None = None,
        drain_seconds: float = 60.0,
    ) -> None:
        """build: makes the scorer, in the thread that will use it. port: 0 for any that is free.

        key: the token clients must have; None for none. drain_seconds: how long an ending service finishes what it has.
        Raises RewardSetupError if it cannot listen there.
        """
        try:
            self._socket = _listening(host, port)
        except OSError as error:
            raise RewardSetupError(
                f"the reward service cannot listen on {host}, port {port}: {error.strerror}; take another --port"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self.service = RewardService(build, limits or ServiceLimits())
        config = uvicorn.Config(
            build_app(self.service, key),
            access_log=False,
            log_config=None,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(drain_seconds) + 1,
        )
        self._server = _Draining(config, self.service, drain_seconds)

    def run(self) -> None:
        """Serve until a signal (SIGTERM, SIGINT) or `stop`. Raises what loading the scorer raised."""
        asyncio.run(self._run())
        if self.service.failure is not None:
            raise self.service.failure

    def stop(self) -> None:
        """End as on SIGTERM; may be called from any thread."""
        self._server.begin_to_end()

    async def _run(self) -> None:
        judging = asyncio.create_task(self.service.run())
        judging.add_done_callback(self._server.end_with)
        LOG.info("listening on %s", self.url)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            judging.cancel()
            await self.service.close(CLOSE_SECONDS)
        LOG.info("ended")


def _listening(host: str, port: int) -> socket.socket:
    """A socket that asyncio knows as TCP's, so that it sends an answer's last bytes without waiting for more."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class _Draining(uvicorn.Server):
    """uvicorn's server, which at a first signal goes on until all is answered, and at a second one ends at once."""

    def __init__(self, config: uvicorn.Config, service: RewardService, seconds: float) -> None:
        super().__init__(config)
        self._service, self._seconds = service, seconds
        self._end_by: float | None = None

    def begin_to_end(self) -> None:
        """Take nothing more."""
        self._service.drain()
        if self._end_by is None:
            self._end_by = time.monotonic() + self._seconds

    def end_with(self, judging: asyncio.Task[None]) -> None:
        """End because nothing judges any more."""
        if not judging.cancelled() and isinstance(error := judging.exception(), Exception):
            self._service.failure = error
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if self._end_by is not None:
            self.should_exit = self.force_exit = True
        LOG.info("ending: %d requests are still being answered", self._service.open_requests)
        self.begin_to_end()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to end."""
        if self._end_by is not None and (not self._service.open_requests or time.monotonic() > self._end_by):
            self.should_exit = True
        return await super().on_tick(counter)
