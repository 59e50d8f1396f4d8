"""What SGLang in this process and SGLang as a server have in common: all but how they are reached."""

from __future__ import annotations

import asyncio
import json
import pickle
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch

from lightrft_strategy.engines.backend import Completion, EngineDied, EngineRefused, EngineTimeout, Part, Request
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.sglang.arguments import LOADER
from lightrft_strategy.engines.sglang.requests import CANNOT, completion, generate_body, score_body, scores
from lightrft_strategy.engines.sglang.worker import instruction
from lightrft_strategy.engines.sync.hand_over import Carrier, hand_over, shared_memory
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received
from lightrft_strategy.engines.sync.shared_memory import MEMORY

T = TypeVar("T")

QUEUED = 64
"""Requests sent beyond those SGLang answers side by side, so that it never waits for us."""
CACHE = ["kv_cache", "cuda_graph"]
"""SGLang's words for the memory of one part; of all others it is `weights`."""


class Refused(EngineRefused):
    """SGLang will not do what it is asked, and says why."""


class Sglang(ABC):
    """A Backend but for its start and end."""

    cannot: Mapping[str, str] = CANNOT

    def __init__(self, config: EngineConfig, eos_token_ids: Sequence[int]) -> None:
        self.config, self.eos_token_ids, self.workers = config, tuple(eos_token_ids), config.tp_size

    @property
    @abstractmethod
    def who(self) -> str:
        """What messages call it."""

    @abstractmethod
    async def generate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One answer. Raises Refused."""

    @abstractmethod
    async def command(self, name: str, fields: Mapping[str, Any]) -> None:
        """Do what SGLang's route of this name does. Raises Refused."""

    @abstractmethod
    async def lives(self) -> bool:
        """Whether SGLang still works on tokens, by its own account."""

    @abstractmethod
    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end. Raises EngineDied if SGLang is lost meanwhile."""

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        """Answer all requests, as many side by side as keep SGLang busy: no other body exists meanwhile.

        One that SGLang refuses completes with its words.
        """
        self.run(self._complete(requests, done))

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """Log-probability at temperature 1 of each token but the first; SGLang computes these without its cache."""
        return scores(self.run(self._within("a score", self.generate(score_body(token_ids)))))

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        """Send the weights in one of SGLang's own weight-update sessions; keys and values are forgotten with it.

        Raises EngineRefused with SGLang's words if it refuses.
        """
        self.order("begin_weight_update")
        try:
            self.rpc("begin_weights", str(version), "" if self.config.fp8 else "mark")
            received = hand_over(self.rpc, version, tensors, self.carrier())
        except (EngineDied, EngineTimeout):
            raise
        except Exception:
            with suppress(Exception):
                self.order("end_weight_update")
            raise
        self.order("end_weight_update")
        return received

    def sleep(self) -> None:
        """Give back weights and cache, if the engine was started to; new weights come before the next answer."""
        if self.config.enable_sleep:
            self.order("release_memory_occupation", tags=[*CACHE, "weights"])

    def wake(self, part: Part) -> None:
        """Take back the memory of one part."""
        if self.config.enable_sleep:
            self.order("resume_memory_occupation", tags=["weights"] if part == "weights" else CACHE)

    def carrier(self) -> Carrier:
        """How buckets travel."""
        return shared_memory

    def order(self, name: str, **fields: Any) -> None:
        """A command, waited for. Raises EngineTimeout, EngineDied, or EngineRefused with SGLang's words."""
        try:
            self.run(self._within(name, self.command(name, fields)))
        except Refused as refused:
            raise EngineRefused(f"{self.who} refused {name}: {refused}") from refused

    def rpc(self, method: str, *arguments: str) -> list[Any]:
        """Call a method of WeightTaker in every worker; the last one of a hand-over has the cache forgotten."""
        with TemporaryDirectory(prefix="lightrft-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
            self.instruct(method, arguments, folder)
            return [json.loads((Path(folder) / str(rank)).read_text()) for rank in range(self.workers)]

    def instruct(self, method: str, arguments: Sequence[str], folder: str) -> None:
        """Send one instruction to all workers, as the name of an empty tensor in a pickle that holds nothing else."""
        parcel = b64encode(pickle.dumps([(instruction(method, arguments, folder), torch.empty(0))])).decode()
        self.order(
            "update_weights_from_tensor",
            serialized_named_tensors=[parcel] * self.workers,
            load_format=LOADER,
            flush_cache=method == "finish_weights",
        )

    async def _complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        room = asyncio.Semaphore(self.config.max_num_seqs + QUEUED)
        tasks = {asyncio.ensure_future(self._answer(request, room)): index for index, request in enumerate(requests)}
        try:
            while tasks:
                ended, _ = await asyncio.wait(tasks, timeout=self.config.timeout, return_when=asyncio.FIRST_COMPLETED)
                if not ended and not await self._within("/health", self.lives()):
                    raise EngineTimeout(
                        f"{self.who} made no progress for {self.config.timeout:g} s; answers missing: {len(tasks)}"
                    )
                answered = [task for task in ended if task.exception() is None]
                for task in answered:
                    done(tasks.pop(task), task.result())
                for task in ended.difference(answered):
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: Request, room: asyncio.Semaphore) -> Completion:
        try:
            async with room:
                answer = await self.generate(generate_body(request, self.eos_token_ids))
        except Refused as refused:
            return Completion([], [], stopped=False, error=str(refused))
        return completion(answer, request, self.eos_token_ids)

    async def _within(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await asyncio.wait_for(work, self.config.timeout)
        except TimeoutError as error:
            raise EngineTimeout(f"{self.who} did not answer {what} within {self.config.timeout:g} s") from error
