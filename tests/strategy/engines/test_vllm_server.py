"""A real vLLM server: its answers are the model's, its weights are ours, and its death is survived."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import torch

pytest.importorskip("vllm")

from lightrft_core import SamplingParams
from lightrft_strategy.engines.backend import Completion, EngineDied, EngineTimeout, Request
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.sync import hand_over
from lightrft_strategy.engines.sync.buckets import buckets
from lightrft_strategy.engines.sync.fingerprint import fingerprint
from lightrft_strategy.engines.sync.hand_over import Broadcast
from lightrft_strategy.engines.sync.published import ModelWeights, Published
from lightrft_strategy.engines.sync.receipt import check_arrival
from lightrft_strategy.engines.vllm.lock import KEY
from lightrft_strategy.engines.vllm.server import VllmServer

from .conftest import EOS, LONGEST, VOCABULARY, engine_config, open_model, spell

NEVER_ENDING = dict.fromkeys(EOS, -100.0)
PROMPTS = [(3, 4, 5), (6, 7), (8, 9, 10, 11), (12,), (3, 4, 6, 7, 8)]
GREEDY = SamplingParams(temperature=0, max_new_tokens=12)
FREE = SamplingParams(max_new_tokens=12)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return open_model(folder, "float32")


@pytest.fixture(scope="module")
def config(folder: Path) -> EngineConfig:
    return engine_config(folder, "float32")


@pytest.fixture(scope="module")
def server(vllm_server: VllmServer, model: Any) -> VllmServer:
    """A server of our own that holds the model's weights."""
    vllm_server.receive(0, ModelWeights(model).tensors())
    return vllm_server


@pytest.fixture
def foreign(server: VllmServer, config: EngineConfig, monkeypatch: pytest.MonkeyPatch) -> VllmServer:
    """The same server as one that is not ours to start."""
    monkeypatch.setenv(KEY, server._key)
    return VllmServer(config, EOS, server.url)


def ask(server: VllmServer, prompts: Sequence[Sequence[int]], law: SamplingParams, seed: int = 0) -> list[Completion]:
    return answers(server, [Request(tuple(prompt), law, seed + i) for i, prompt in enumerate(prompts)])


def answers(server: VllmServer, requests: Sequence[Request]) -> list[Completion]:
    got: dict[int, Completion] = {}

    def done(index: int, completion: Completion) -> None:
        assert index not in got
        got[index] = completion

    server.complete(requests, done)
    return [got[index] for index in range(len(requests))]


@contextmanager
def frozen(server: VllmServer) -> Iterator[None]:
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)


def test_greedy_answers_are_the_models_token_for_token(server: VllmServer, model: Any) -> None:
    greedy = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": list(EOS), "pad_token_id": EOS[0]}
    for prompt, answer in zip(PROMPTS, ask(server, PROMPTS, GREEDY), strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), **greedy)
        assert answer.token_ids == expected[0, len(prompt) :].tolist()
        assert answer.stopped == (answer.token_ids[-1] in EOS)


@pytest.mark.parametrize("law", [GREEDY, FREE], ids=["greedy", "free"])
def test_logprobs_are_those_of_a_full_forward(server: VllmServer, model: Any, law: SamplingParams) -> None:
    for prompt, answer in zip(PROMPTS, ask(server, PROMPTS, law), strict=True):
        expected = ModelWeights(model).logprobs([*prompt, *answer.token_ids])[len(prompt) - 1 :]
        assert answer.logprobs == pytest.approx(expected, abs=1e-4)


def test_logprobs_are_of_the_law_drawn_from(server: VllmServer, model: Any) -> None:
    law = SamplingParams(temperature=0.5, top_k=3, max_new_tokens=1, logit_bias={5: 2.0})
    (answer,) = ask(server, [(3, 4)], law)
    with torch.no_grad():
        logits = model(torch.tensor([[3, 4]])).logits[0, -1]
    logits[5] += 2.0
    kept, places = (logits / 0.5).topk(3)
    expected = dict(zip(places.tolist(), kept.log_softmax(-1).tolist(), strict=True))
    assert answer.logprobs == pytest.approx([expected[answer.token_ids[0]]], abs=1e-4)


def test_scores_are_those_of_a_full_forward(server: VllmServer, model: Any) -> None:
    ids = [3, 4, 5, 6, 7, 8, 9]
    for _ in range(2):
        assert server.score(ids) == pytest.approx(ModelWeights(model).logprobs(ids), abs=1e-4)


def test_seeds_reproduce_whatever_is_drawn_beside(server: VllmServer) -> None:
    requests = [Request(PROMPTS[i % 5], FREE, 2**62 + i) for i in range(20)]
    drawn = [answer.token_ids for answer in answers(server, requests)]
    assert [answer.token_ids for answer in reversed(answers(server, requests[::-1]))] == drawn
    assert [answers(server, [request])[0].token_ids for request in requests[:3]] == drawn[:3]
    assert len(set(map(tuple, drawn))) > 15


def test_answers_end_by_tokens_by_texts_and_by_their_budget(server: VllmServer) -> None:
    (free,) = ask(server, [PROMPTS[0]], SamplingParams(max_new_tokens=8, logit_bias=NEVER_ENDING))
    assert len(free.token_ids) == 8
    assert not free.stopped
    third = free.token_ids[2]
    first = free.token_ids.index(third) + 1
    for stop in ({"stop_token_ids": (third,)}, {"stop": (spell([[third]])[0],)}):
        (answer,) = ask(server, [PROMPTS[0]], SamplingParams(max_new_tokens=8, logit_bias=NEVER_ENDING, **stop))  # type: ignore[arg-type]
        assert answer.token_ids == free.token_ids[:first]
        assert answer.logprobs == pytest.approx(free.logprobs[:first], abs=1e-5)
        assert answer.stopped
    (ended,) = ask(server, [PROMPTS[0]], SamplingParams(max_new_tokens=8, logit_bias={EOS[1]: 100.0}))
    assert (ended.token_ids, ended.stopped) == ([EOS[1]], True)


def test_prompts_that_cannot_be_answered_fail_alone(server: VllmServer) -> None:
    bad: list[tuple[int, ...]] = [(), (VOCABULARY + 4,), (5,) * (LONGEST + 6)]
    got = ask(server, [*bad, *PROMPTS], GREEDY)
    assert [bool(answer.error) for answer in got] == [True] * 3 + [False] * 5
    assert [answer.token_ids for answer in got[:3]] == [[]] * 3
    assert "out of vocabulary" in got[1].error
    assert "longer than the maximum model length" in got[2].error
    assert [answer.token_ids for answer in got[3:]] == [answer.token_ids for answer in ask(server, PROMPTS, GREEDY)]


@pytest.mark.parametrize("transport", ["shared_memory", "gloo"])
def test_new_weights_arrive_change_the_answers_and_can_be_taken_back(
    server: VllmServer,
    model: Any,
    tiny_model: Callable[..., Any],
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "config", replace(server.config, sync_backend=transport))
    monkeypatch.setattr(hand_over, "buckets", partial(buckets, size=300_000))
    other = ModelWeights(type(model)(model.config))
    torch.manual_seed(1)
    for published in other.tensors():
        published.tensor.normal_(std=0.1)
    before = ask(server, PROMPTS, GREEDY)
    for version, weights in ((1, other), (2, ModelWeights(model))):
        sent = {published.names[0]: fingerprint(published.tensor) for published in weights.tensors()}
        check_arrival(version, sent, server.receive(version, weights.tensors()))
        ids = [3, 4, 5, 6, 7, 8, 9]
        assert server.score(ids) == pytest.approx(weights.logprobs(ids), abs=1e-4)
        same = ask(server, PROMPTS, GREEDY) == before
        assert same == (version == 2)


def test_sleep_and_wake(server: VllmServer, model: Any) -> None:
    """vLLM on a CPU keeps its memory, but must go on."""
    server.sleep()
    server.wake("weights")
    server.receive(3, ModelWeights(model).tensors())
    server.wake("cache")
    assert ask(server, PROMPTS, GREEDY)[0].token_ids


def test_nobody_uses_the_server_without_its_key(server: VllmServer, config: EngineConfig) -> None:
    assert server.process is not None
    for path in ("/reset_prefix_cache", "/collective_rpc", "/inference/v1/generate"):
        with pytest.raises(HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(server.url + path, method="POST"))
    assert server._key not in " ".join(server.process.command)
    assert server._key not in server.process.log_tail()
    with pytest.raises(RuntimeError, match="wants another API key"):
        VllmServer(config, EOS, server.url).score([3, 4])


def test_a_server_that_is_not_ours_answers_and_is_not_restarted(foreign: VllmServer) -> None:
    assert all(answer.token_ids for answer in ask(foreign, PROMPTS, GREEDY))
    assert not foreign.survives
    with pytest.raises(RuntimeError, match="not ours"):
        foreign.restart()


def test_no_progress_is_a_timeout(
    server: VllmServer, foreign: VllmServer, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "config", replace(foreign.config, timeout=2.0))
    with frozen(server):
        with pytest.raises(EngineTimeout, match="no progress for 2 s; answers missing: 5"):
            ask(foreign, PROMPTS, GREEDY)
        with pytest.raises(EngineTimeout, match="did not answer /collective_rpc within 2 s"):
            foreign.receive(4, ModelWeights(model).tensors())
    server.receive(4, ModelWeights(model).tensors())


def test_workers_that_do_not_join_a_broadcast_are_a_timeout() -> None:
    with pytest.raises(EngineTimeout, match="did not take part"):
        Broadcast(lambda *call: [], "127.0.0.1", 1, "gloo", 1.0)


@pytest.mark.proof
def test_a_killed_server_loses_nothing_and_answers_again_after_a_restart(server: VllmServer, model: Any) -> None:
    requests = [Request(PROMPTS[i % 5], replace(FREE, max_new_tokens=40), i) for i in range(60)]
    expected = answers(server, requests)
    got: dict[int, Completion] = {}

    def kill_midway(index: int, completion: Completion) -> None:
        got[index] = completion
        if len(got) == 10:
            assert server.process is not None
            os.killpg(server.process.pid, signal.SIGKILL)

    with pytest.raises(EngineDied, match="vllm-server was killed by signal 9"):
        server.complete(requests, kill_midway)
    assert 10 <= len(got) < 60
    server.restart()
    server.receive(5, ModelWeights(model).tensors())
    missing = [index for index in range(60) if index not in got]
    got |= dict(zip(missing, answers(server, [requests[index] for index in missing]), strict=True))
    assert [got[i].token_ids for i in range(60)] == [answer.token_ids for answer in expected]


def test_a_server_killed_in_the_middle_of_a_broadcast_is_dead(
    server: VllmServer, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "config", replace(server.config, sync_backend="gloo"))
    monkeypatch.setattr(hand_over, "buckets", partial(buckets, size=100_000))

    def tensors() -> Iterator[Published]:
        for number, published in enumerate(ModelWeights(model).tensors()):
            if number == 10:
                assert server.process is not None
                os.killpg(server.process.pid, signal.SIGKILL)
            yield published

    start = time.monotonic()
    with pytest.raises(EngineDied, match="vllm-server was killed by signal 9"):
        server.receive(6, tensors())
    assert time.monotonic() - start < server.config.timeout / 2, "its time-out is not waited for"
