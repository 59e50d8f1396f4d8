"""vLLM as a server, ours to start or running already.

Documented routes: /health, /metrics, /inference/v1/generate (tokens in, tokens out). Routes that vLLM has for
development alone, behind VLLM_SERVER_DEV_MODE=1: /collective_rpc, /reset_prefix_cache, /reset_encoder_cache, /sleep,
/wake_up.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from lightrft_strategy.devices import device, only
from lightrft_strategy.engines.backend import Completion, EngineDied, EngineRefused, EngineTimeout, Part, Request
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.server_process import ServerProcess, free_port
from lightrft_strategy.engines.sync.hand_over import Broadcast, Carrier, hand_over, shared_memory
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received
from lightrft_strategy.engines.vllm.in_process import EXTENSION, HEAT, QUIET, engine_arguments
from lightrft_strategy.engines.vllm.lock import KEY, Lock
from lightrft_strategy.engines.vllm.requests import body_of

T = TypeVar("T")

GENERATE = "/inference/v1/generate"
FILES = 65536
"""How many connections this process should be able to hold, if the system lets it."""
QUEUED = 64
"""Requests sent beyond those the server answers side by side, so that it never waits for us."""
LOOKS = 8
"""How often progress is looked for while config.timeout passes."""
TOKENS = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
ATTACHABLE = (
    f"VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --enable-scale-out --worker-extension-cls {EXTENSION} "
    f"--logits-processors {HEAT} --logprobs-mode processed_logprobs --generation-config vllm"
)
"""How a server must have been started that is not ours to start."""
POLL_SECONDS = 0.1


def command(config: EngineConfig, port: int) -> list[str]:
    """What starts a server of ours, on this machine's loopback alone."""
    words = [
        sys.executable,
        "-m",
        "vllm.entrypoints.launchers.api_server.entry",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    words += [
        "--enable-scale-out",
        "--uvicorn-log-level",
        "warning",
        "--middleware",
        f"{Lock.__module__}.{Lock.__name__}",
    ]
    return [*words, *_flags(engine_arguments(config))]


def _flags(arguments: Mapping[str, Any]) -> Iterator[str]:
    for name, value in arguments.items():
        word = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{word}" if value else f"--no-{word}"
        elif value is not None:
            yield f"--{word}"
            yield from map(str, value if isinstance(value, list) else [_word(value)])


def _word(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


class VllmServer:
    """A Backend over a vLLM server.

    url: of a server that runs already, which is asked with the key in VLLM_API_KEY, if any; None to start our own.
    Raises EngineDied or EngineTimeout if it does not start or is not there.
    """

    name = "vllm-server"
    cannot: Mapping[str, str] = {}

    def __init__(self, config: EngineConfig, eos_token_ids: Sequence[int], url: str | None) -> None:
        self.config, self.eos_token_ids, self.survives = config, tuple(eos_token_ids), url is None
        _allow_connections()
        self._broadcast: Broadcast | None = None
        self.process: ServerProcess | None = None
        if url is None:
            port, self._key = free_port(), secrets.token_urlsafe(32)
            self.url = f"http://127.0.0.1:{port}"
            env = QUIET | only(config.devices) | {KEY: self._key, "VLLM_SERVER_DEV_MODE": "1"}
            if device().type == "cpu" and config.tp_size == 1:
                env |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # the model in the scheduler's own process
            health = f"{self.url}/health"
            self.process = ServerProcess(command(config, port), env, health, self.name, config.timeout)
            self.process.start()
        else:
            self.url, self._key = url.rstrip("/"), os.environ.get(KEY, "")
            self._call("get", "/health")
            self._require_processed_logprobs()

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        """Send all requests in their order, as many at a time as keep the server busy; only their bodies exist."""
        self._run(self._complete(requests, done))

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """Log-probability at temperature 1 of each token but the first; vLLM computes these without its cache."""
        law = {"temperature": 0, "max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}
        answer = self._call("post", GENERATE, {"token_ids": list(token_ids), "sampling_params": law})
        given = zip(token_ids[1:], answer["prompt_logprobs"][1:], strict=True)
        return [here[str(token)]["logprob"] for token, here in given]

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        """Send the weights as config.sync_backend says, and have the server forget cached keys and values."""
        workers = len(self._rpc("begin_weights", str(version)))
        try:
            received = hand_over(self._rpc, version, tensors, self._carrier(workers))
        except Exception:
            self._broadcast = None
            raise
        self._forget()
        return received

    def sleep(self) -> None:
        """Give back weights and cache; the trainer sends new weights before the next answer."""
        self._call("post", "/sleep?level=2")

    def wake(self, part: Part) -> None:
        """Take back the memory of one part."""
        self._call("post", f"/wake_up?tags={'weights' if part == 'weights' else 'kv_cache'}")

    def restart(self) -> None:
        """Start a server of ours again. Raises EngineRefused if it is not ours."""
        if self.process is None:
            raise EngineRefused(f"the vLLM server at {self.url} is not ours to start again")
        self._broadcast = None
        self.process.start()

    def close(self) -> None:
        """End the server if it is ours."""
        self._broadcast = None
        if self.process is not None:
            self.process.stop()

    async def _complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        missing = set(range(len(requests)))
        at_once = self.config.max_num_seqs + QUEUED
        room = asyncio.Semaphore(at_once)

        async def answer(session: aiohttp.ClientSession, index: int) -> None:
            async with (
                room,
                session.post(GENERATE, json=body_of(requests[index], self.eos_token_ids)) as response,
            ):
                status, text = response.status, await response.text()
            if status != 200:
                await self._check(GENERATE, status, text)
            done(index, _completion(json.loads(text)) if status == 200 else Completion([], [], False, _words(text)))
            missing.remove(index)

        async with self._session(None, aiohttp.TCPConnector(limit=at_once)) as session:
            answers = asyncio.gather(*(answer(session, index) for index in range(len(requests))))
            watch = asyncio.create_task(self._watch(missing))
            either: list[asyncio.Future[Any]] = [answers, watch]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            next(future for future in either if future.done()).result()

    async def _watch(self, missing: set[int]) -> None:
        """Raises EngineTimeout once neither answers nor tokens have come for config.timeout seconds."""
        seen, since = (len(missing), ""), time.monotonic()
        while True:
            await asyncio.sleep(self.config.timeout / LOOKS)
            now = len(missing), await self._tokens() or seen[1]
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > self.config.timeout:
                raise EngineTimeout(
                    f"{self._who} made no progress for {self.config.timeout:g} s; answers missing: {len(missing)}"
                )

    async def _tokens(self) -> str:
        """How many tokens the server has worked on, in its metrics' words; "" if it does not say."""
        try:
            async with self._session(self.config.timeout / LOOKS) as session, session.get("/metrics") as response:
                lines = (await response.text()).splitlines()
        except TimeoutError:
            return ""
        return "".join(line for line in lines if line.startswith(TOKENS))

    def _require_processed_logprobs(self) -> None:
        """Raises EngineRefused if the server tells raw log-probabilities, where the only token left is not certain."""
        law = {"temperature": 1.0, "top_k": 1, "max_tokens": 1, "logprobs": 0, "detokenize": False}
        answer = _completion(self._call("post", GENERATE, {"token_ids": [1, 1], "sampling_params": law}))
        if answer.logprobs[0] < -1e-3:
            raise EngineRefused(
                f"{self._who} tells log-probabilities from before temperature and truncation, which are not of the law "
                f"drawn from: start it as `{ATTACHABLE} ...`"
            )

    def _carrier(self, workers: int) -> Carrier:
        backend = self.config.sync_backend
        host = urlsplit(self.url).hostname or ""
        if backend == "auto":
            there = "gloo" if device().type == "cpu" else "nccl"
            backend = "shared_memory" if host == "localhost" or host.startswith("127.") else there
        if backend == "shared_memory":
            return shared_memory
        if self._broadcast is None:
            ours = _own_address(host, urlsplit(self.url).port or 80)
            self._broadcast = Broadcast(self._rpc, ours, workers, backend, self.config.timeout)
        return self._broadcast

    def _forget(self) -> None:
        """Raises EngineTimeout if the cache stays in use, as by answers nobody waits for any more."""
        deadline = time.monotonic() + self.config.timeout
        while not self._call("post", "/reset_prefix_cache")["success"]:
            if time.monotonic() > deadline:
                raise EngineTimeout(f"{self._who} did not forget old keys and values in {self.config.timeout:g} s")
            time.sleep(POLL_SECONDS)
        self._call("post", "/reset_encoder_cache")

    def _rpc(self, method: str, *arguments: str) -> list[Any]:
        results: list[Any] = self._call("post", "/collective_rpc", {"method": method, "args": arguments})["results"]
        return results

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON. Raises EngineDied, EngineTimeout, or EngineRefused with the server's words."""
        return self._run(self._ask(method, path, body))

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        try:
            async with (
                self._session(self.config.timeout) as session,
                session.request(method, path, json=body) as response,
            ):
                status, text = response.status, await response.text()
        except TimeoutError as error:
            raise EngineTimeout(f"{self._who} did not answer {path} within {self.config.timeout:g} s") from error
        if status != 200:
            await self._check(path, status, text)
            raise EngineRefused(f"{self._who} refused {path} ({status}): {_words(text)}")
        return json.loads(text or "null")

    async def _check(self, path: str, status: int, text: str) -> None:
        """Raises for answers that are about the server rather than about the request."""
        if status == 401:
            raise EngineRefused(f"{self._who} wants another API key than the one in {KEY}")
        if status in (403, 404):
            raise EngineRefused(f"{self._who} does not offer {path}: start it as `{ATTACHABLE} ...`")
        if status >= 500:
            try:
                async with self._session(self.config.timeout) as session, session.get("/health") as response:
                    healthy = response.status == 200
            except TimeoutError:
                healthy = False
            if not healthy:
                raise _Gone(_words(text))

    def _session(self, seconds: float | None, connector: aiohttp.TCPConnector | None = None) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = aiohttp.ClientTimeout(total=seconds)
        return aiohttp.ClientSession(self.url, headers=headers, timeout=timeout, connector=connector)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run(work)
        except (aiohttp.ClientError, _Gone) as error:
            raise self._death(error) from error

    def _death(self, error: Exception) -> EngineDied:
        if self.process is None:
            return EngineDied(f"{self._who} is gone: {error}")
        return self.process.death()

    @property
    def _who(self) -> str:
        return f"the vLLM server at {self.url}"


class _Gone(Exception):
    """The server still answers, but there is no engine behind it."""


def _completion(answer: Mapping[str, Any]) -> Completion:
    (choice,) = answer["choices"]
    if choice["finish_reason"] not in ("stop", "length"):
        raise _Gone(f"an answer was ended by {choice['finish_reason']!r}")
    logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
    stopped = choice["finish_reason"] == "stop"
    return Completion(choice["token_ids"], logprobs, stopped, prompt_ids=answer.get("prompt_token_ids"))


def _words(text: str) -> str:
    """What the server says in an answer that is none."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text


def _allow_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES)), hard))


def _own_address(host: str, port: int) -> str:
    """The address this machine has towards another."""
    with socket.create_connection((host, port)) as connection:
        address: str = connection.getsockname()[0]
        return address
