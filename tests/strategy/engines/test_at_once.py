"""However many answers are asked for, only as many requests are written out as an engine works on and waits with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lightrft_core import SamplingParams
from lightrft_strategy.engines.backend import Completion, Request
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.sglang import base
from lightrft_strategy.engines.sglang.arguments import ENVIRONMENT
from lightrft_strategy.engines.vllm import server

CONFIG = EngineConfig(model="none", dtype="float32", max_model_len=8, seed=1, max_num_seqs=3, timeout=60.0)
ANSWER = (
    '{"choices": [{"finish_reason": "stop", "token_ids": [1], "logprobs": {"content": [{"logprob": -1.0}]}}], '
    '"prompt_token_ids": [1]}'
)


class Hand:
    """Counts the bodies that exist between being written and being answered."""

    def __init__(self) -> None:
        self.held, self.most, self.written = 0, 0, list[int]()

    def body(self, request: Request, eos_token_ids: Sequence[int]) -> dict[str, Any]:
        self.held += 1
        self.most = max(self.most, self.held)
        self.written.append(request.seed)
        return {}

    async def answered(self) -> None:
        await asyncio.sleep(0)
        self.held -= 1


def of_vllm(hand: Hand) -> Any:
    """A server's client whose posts are answered one turn of the loop later."""

    class Session:
        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *error: object) -> None: ...

        @asynccontextmanager
        async def post(self, route: str, json: Mapping[str, Any]) -> AsyncIterator[Any]:
            async def text() -> str:
                await hand.answered()
                return ANSWER

            yield SimpleNamespace(status=200, text=text)

    client: Any = object.__new__(server.VllmServer)
    client.config, client.eos_token_ids = CONFIG, (0,)
    client._session = lambda seconds, connector=None: Session()
    return client


def of_sglang(hand: Hand) -> Any:
    """An engine in this process whose answers come one turn of the loop later."""

    class Stub(base.Sglang):
        who = "stub"

        async def generate(self, body: Mapping[str, Any]) -> dict[str, Any]:
            await hand.answered()
            end = {"type": "stop", "matched": 0}
            return {"output_ids": [0], "meta_info": {"finish_reason": end, "output_token_logprobs": [(-1.0, 0, None)]}}

        async def command(self, name: str, fields: Mapping[str, Any]) -> None: ...

        async def lives(self) -> bool:
            return True

        def run(self, work: Any) -> Any:
            return asyncio.run(work)

    return Stub(CONFIG, (0,))


@pytest.mark.parametrize(
    ("make", "module", "name"),
    [(of_vllm, server, "body_of"), (of_sglang, base, "generate_body")],
    ids=["vllm server", "sglang"],
)
def test_no_more_bodies_exist_than_the_engine_is_kept_busy_by(
    make: Callable[[Hand], Any], module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, count = Hand(), 300
    monkeypatch.setattr(module, name, hand.body)
    done: dict[int, Completion] = {}
    law = SamplingParams(max_new_tokens=1)
    make(hand).complete([Request((1,), law, seed) for seed in range(count)], done.__setitem__)
    assert sorted(done) == list(range(count)) and all(answer.error == "" for answer in done.values())
    assert hand.written == list(range(count)) and hand.most == CONFIG.max_num_seqs + 64 and hand.held == 0


def test_a_larger_engine_is_kept_busier(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand()
    monkeypatch.setattr(server, "body_of", hand.body)
    client = of_vllm(hand)
    client.config = replace(CONFIG, max_num_seqs=20)
    client.complete([Request((1,), SamplingParams(), seed) for seed in range(200)], lambda index, answer: None)
    assert hand.most == 84


def test_sglang_keeps_no_embeddings_of_media_from_old_towers() -> None:
    assert ENVIRONMENT["SGLANG_VLM_CACHE_SIZE_MB"] == "0"
