"""SGLang as a server, ours to start or running already.

Documented routes: /health, /generate (tokens in, tokens out), /server_info, /update_weights_from_tensor,
/release_memory_occupation, /resume_memory_occupation. Around every change of weights this version also demands
/begin_weight_update and /end_weight_update. None is behind a development mode; all but /health ask for the key.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from lightrft_strategy.devices import device, only
from lightrft_strategy.engines.backend import EngineDied, EngineRefused
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.server_process import ServerProcess, free_port
from lightrft_strategy.engines.sglang.arguments import ENVIRONMENT, LOADER, command_line, need_accelerator
from lightrft_strategy.engines.sglang.base import QUEUED, Refused, Sglang
from lightrft_strategy.engines.sglang.worker import answer_key
from lightrft_strategy.engines.sync.hand_over import Broadcast, Carrier, shared_memory
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received

T = TypeVar("T")

KEY = "SGLANG_API_KEY"
"""The environment variable with the key of a server that is not ours, if it asks for one."""
NEEDED = {"custom_weight_loader": [LOADER], "enable_deterministic_inference": True}
"""What a server that is not ours must have been started with: to take our weights, and to heed seeds."""
ATTACHABLE = (
    f"SGLANG_VLM_CACHE_SIZE_MB=0 python -m sglang.launch_server --custom-weight-loader {LOADER} "
    "--enable-deterministic-inference"
)


def launch(config: EngineConfig) -> list[str]:
    """What starts a server with these settings. Raises EngineRefused where SGLang cannot run."""
    need_accelerator()
    return [sys.executable, "-m", "sglang.launch_server", *command_line(config)]


class SglangServer(Sglang):
    """A Backend over an SGLang server.

    url: of a server that runs already, which is asked with the key in SGLANG_API_KEY, if any; None to start our own.
    Raises EngineDied or EngineTimeout if it does not start or is not there, EngineRefused if it cannot serve us.
    """

    name = "sglang-server"

    def __init__(self, config: EngineConfig, eos_token_ids: Sequence[int], url: str | None = None) -> None:
        super().__init__(config, eos_token_ids)
        self.survives = url is None
        self.process: ServerProcess | None = None
        self._broadcast: Broadcast | None = None
        if url is None:
            self._start()
        else:
            self.url, self._key = url.rstrip("/"), os.environ.get(KEY, "")
            self._inspect()

    @property
    def who(self) -> str:
        return f"the SGLang server at {self.url}"

    def restart(self) -> None:
        """Start a server of ours again. Raises EngineRefused if it is not ours."""
        if self.process is None:
            raise EngineRefused(f"{self.who} is not ours to start again")
        self.close()
        self._start()

    def close(self) -> None:
        """End the server if it is ours."""
        self._broadcast = None
        if self.process is not None:
            self.process.stop()

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        """Send the weights as config.sync_backend says, and have the server forget cached keys and values."""
        try:
            return super().receive(version, tensors)
        except Exception:
            self._broadcast = None
            raise

    def carrier(self) -> Carrier:
        """Shared memory on one machine, else a broadcast."""
        if self._way == "shared_memory":
            return shared_memory
        if self._broadcast is None:
            self._broadcast = Broadcast(self.rpc, self._ours, self.workers, self._way, self.config.timeout)
        return self._broadcast

    def rpc(self, method: str, *arguments: str) -> list[Any]:
        """Call a method of WeightTaker in every worker; answers come back by the way the weights go."""
        if self._way == "shared_memory":
            return super().rpc(method, *arguments)
        self.instruct(method, arguments, "")
        if method != "finish_weights" or self._broadcast is None:
            return [None] * self.workers
        store = self._broadcast.channel.store
        answers = [json.loads(store.get(answer_key(rank))) for rank in range(self.workers)]
        for rank in range(self.workers):
            store.delete_key(answer_key(rank))
        return answers

    async def generate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One answer. Raises Refused."""
        answer: dict[str, Any] = await self._ask("/generate", body)
        return answer

    async def command(self, name: str, fields: Mapping[str, Any]) -> None:
        """Do what the route of this name does. Raises Refused."""
        await self._ask(f"/{name}", fields)

    async def lives(self) -> bool:
        """SGLang's health route waits for its engine to finish some token."""
        async with self._session.get("/health") as response:
            return response.status == 200

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run with connections to the server. Raises EngineDied if they break."""

        async def connected() -> T:
            connector = aiohttp.TCPConnector(limit=self.config.max_num_seqs + QUEUED)
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            patience = aiohttp.ClientTimeout(total=None, sock_connect=self.config.timeout)
            async with aiohttp.ClientSession(
                self.url, headers=headers, timeout=patience, connector=connector
            ) as self._session:
                return await work

        try:
            return asyncio.run(connected())
        except aiohttp.ClientError as error:
            raise self._death(error) from error

    async def _ask(self, route: str, body: Mapping[str, Any] | None) -> Any:
        """The answer's JSON to a POST of the body, or to a GET without one."""
        async with self._session.request("GET" if body is None else "POST", route, json=body) as response:
            text = await response.text()
        if response.status in (401, 403):
            raise EngineRefused(f"{self.who} wants another API key than the one in {KEY}")
        if response.status == 404:
            raise EngineRefused(f"{self.who} has no {route}; LightRFT speaks to SGLang 0.5.23")
        if 400 <= response.status < 500:
            raise Refused(_words(text))
        response.raise_for_status()
        return json.loads(text or "null")

    def _start(self) -> None:
        """Launch a server on this machine's loopback, with a key that only a file of ours ever holds."""
        port, self._key = free_port(), secrets.token_hex(32)
        self.url = f"http://127.0.0.1:{port}"
        with TemporaryDirectory(prefix="lightrft-") as folder:
            secret = Path(folder) / "key.yaml"
            secret.write_text(f'api-key: "{self._key}"\n')
            words = [*launch(self.config), "--host", "127.0.0.1", "--port", str(port), "--config", str(secret)]
            env = {**ENVIRONMENT, **only(self.config.devices)}
            self.process = ServerProcess(words, env, f"{self.url}/health", self.name, self.config.timeout)
            self.process.start()
        self._survey()

    def _inspect(self) -> None:
        """Learn how a server that is not ours was started. Raises EngineRefused if it cannot serve us."""
        info = self.run(self._within("/server_info", self._ask("/server_info", None)))
        if any(info.get(name) != value for name, value in NEEDED.items()):
            raise EngineRefused(f"{self.who} cannot take our weights or heed our seeds: start it as `{ATTACHABLE} ...`")
        self.workers = int(info["tp_size"])
        self._survey()

    def _survey(self) -> None:
        """Find out which way weights go to the server, and which address of ours it sees."""
        parts = urlsplit(self.url)
        try:
            with socket.create_connection((parts.hostname or "", parts.port or 80), self.config.timeout) as line:
                self._ours, theirs = str(line.getsockname()[0]), str(line.getpeername()[0])
        except OSError as error:
            raise self._death(error) from error
        self._way = self.config.sync_backend
        if self._way == "auto":
            elsewhere = "gloo" if device().type == "cpu" else "nccl"
            self._way = "shared_memory" if self._ours == theirs else elsewhere

    def _death(self, error: Exception) -> EngineDied:
        if self.process is None:
            return EngineDied(f"{self.who} is gone: {error}")
        return self.process.death()


def _words(text: str) -> str:
    """What the server says in an answer that is none."""
    try:
        said = json.loads(text)
    except ValueError:
        return text
    error = said.get("error", said)
    return str(error.get("message", error) if isinstance(error, dict) else error)
