from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lightrft_core import SamplingParams
from lightrft_strategy.engines.backend import Completion, EngineDied, EngineTimeout, Request
from lightrft_strategy.engines.config import EngineConfig
from lightrft_strategy.engines.sglang import server
from lightrft_strategy.engines.sglang.arguments import command_line
from lightrft_strategy.engines.sglang.server import SglangServer
from lightrft_strategy.engines.sync.fingerprint import fingerprint
from lightrft_strategy.engines.sync.published import ModelWeights, Published
from lightrft_strategy.engines.sync.receipt import check_arrival

EOS = 2
LOOPBACK = Path(__file__).with_name("loopback.py")
GREEDY = SamplingParams(temperature=0, max_new_tokens=12)
PROMPTS = [(5, 9, 11), (7, 40, 3, 20, 8), (100, 4)]


def loopback(config: EngineConfig) -> list[str]:
    return [sys.executable, str(LOOPBACK), *command_line(config)]


@pytest.fixture(scope="module", autouse=True)
def instead_of_sglang() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "launch", loopback)
        yield


@pytest.fixture(scope="module")
def engine(config: EngineConfig, policy: Any) -> Iterator[SglangServer]:
    backend = SglangServer(config, [EOS])
    backend.receive(1, ModelWeights(policy).tensors())
    yield backend
    backend.close()


def answers(backend: SglangServer, requests: list[Request]) -> list[Completion]:
    """Each request's answer; every one must come exactly once."""
    came: dict[int, Completion] = {}

    def done(index: int, completion: Completion) -> None:
        assert index not in came
        came[index] = completion

    backend.complete(requests, done)
    return [came[index] for index in range(len(requests))]


def drawn(backend: SglangServer, law: SamplingParams, seeds: range = range(3)) -> list[Completion]:
    return answers(backend, [Request(prompt, law, seed) for prompt, seed in zip(PROMPTS, seeds, strict=True)])


def under(policy: Any, prompt: tuple[int, ...], tokens: list[int], law: SamplingParams) -> list[float]:
    """[time] log-probabilities of the tokens under a law, by the trainer's own model."""
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1].float()
    for token, bias in law.logit_bias.items():
        logits[:, token] += bias
    logits[: law.min_new_tokens, [EOS, *law.stop_token_ids]] = -torch.inf
    logits = logits / (law.temperature or 1.0)
    if law.top_k and law.temperature:
        logits = logits.masked_fill(logits < logits.topk(law.top_k).values[:, -1:], -torch.inf)
    logprobs: list[float] = logits.log_softmax(-1).gather(-1, torch.tensor(tokens)[:, None])[:, 0].tolist()
    return logprobs


def test_greedy_answers_are_the_models_own(engine: SglangServer, policy: Any) -> None:
    for prompt, answer in zip(PROMPTS, drawn(engine, GREEDY), strict=True):
        whole = policy.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=12, eos_token_id=EOS, pad_token_id=0
        )
        assert answer.token_ids == whole[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    "law",
    [
        GREEDY,
        SamplingParams(max_new_tokens=10),
        SamplingParams(temperature=0.3, max_new_tokens=10, logit_bias={17: 4.0, 18: -3.0}),
        SamplingParams(temperature=1.5, top_k=4, max_new_tokens=10),
        SamplingParams(temperature=4.0, max_new_tokens=10, min_new_tokens=6, stop_token_ids=tuple(range(3, 200))),
    ],
)
def test_log_probabilities_belong_to_the_law(engine: SglangServer, policy: Any, law: SamplingParams) -> None:
    for prompt, answer in zip(PROMPTS, drawn(engine, law), strict=True):
        assert answer.token_ids and answer.logprobs == pytest.approx(
            under(policy, prompt, answer.token_ids, law), abs=1e-4
        )


def test_scores(engine: SglangServer, policy: Any) -> None:
    ids = [5, 9, 11, 200, 3]
    assert engine.score(ids) == pytest.approx(ModelWeights(policy).logprobs(ids), abs=1e-4)


def test_seeds_reproduce_in_any_company(engine: SglangServer) -> None:
    law = SamplingParams(temperature=2.0, max_new_tokens=10)
    once, again = drawn(engine, law), drawn(engine, law)
    alone = answers(engine, [Request(PROMPTS[1], law, 1)])
    other = drawn(engine, law, range(2**63 - 3, 2**63))
    assert once == again and alone == once[1:2]
    assert [a.token_ids for a in other] != [a.token_ids for a in once]


def test_answers_end_by_token_by_text_or_by_budget(engine: SglangServer) -> None:
    law = SamplingParams(temperature=3.0, max_new_tokens=20)
    (free,) = answers(engine, [Request(PROMPTS[0], law, 7)])
    assert len(free.token_ids) == 20 and not free.stopped
    third = free.token_ids[2]
    (by_token,) = answers(engine, [Request(PROMPTS[0], replace(law, stop_token_ids=(third,)), 7)])
    cut = free.token_ids[: free.token_ids.index(third) + 1]
    assert by_token.token_ids == cut and by_token.stopped
    letter = chr(97 + third % 26)
    (by_text,) = answers(engine, [Request(PROMPTS[0], replace(law, stop=(letter,)), 7)])
    assert by_text.stopped and by_text.token_ids == free.token_ids[: len(by_text.token_ids)]
    assert by_text.token_ids[-1] % 26 == third % 26


def test_an_answer_may_fill_the_context(engine: SglangServer, config: EngineConfig) -> None:
    prompt = tuple(range(10, 40))
    law = SamplingParams(temperature=0, max_new_tokens=config.max_model_len - 30, logit_bias={EOS: -100.0})
    assert len(answers(engine, [Request(prompt, law, 0)])[0].token_ids) == config.max_model_len - 30


def test_a_bad_prompt_errs_alone(engine: SglangServer) -> None:
    bad = [Request((5, 10**6), GREEDY, 0), Request((), GREEDY, 0), Request(tuple(range(49)), GREEDY, 0)]
    good = [Request(prompt, GREEDY, 0) for prompt in PROMPTS]
    outcome = answers(engine, [good[0], *bad, *good[1:]])
    assert ["greater than the vocab size" in outcome[1].error, "cannot be empty" in outcome[2].error] == [True, True]
    assert "longer than the model's context length" in outcome[3].error
    assert [answer.error for answer in (outcome[0], *outcome[4:])] == ["", "", ""]


def test_weights_change_and_come_back(engine: SglangServer, policy: Any, tiny_model: Any) -> None:
    before, scored = drawn(engine, GREEDY), engine.score([5, 9, 11])
    for version, model in [(2, tiny_model(seed=4, max_position_embeddings=64)), (3, policy)]:
        tensors = list(ModelWeights(model).tensors())
        received = engine.receive(version, tensors)
        sent = {published.names[0]: fingerprint(published.tensor) for published in tensors}
        check_arrival(version, sent, received)
        assert (drawn(engine, GREEDY) == before) == (model is policy)
    assert engine.score([5, 9, 11]) == scored


def test_the_cache_is_forgotten_once_per_hand_over(engine: SglangServer, policy: Any) -> None:
    flushed = info(engine)["flushed"]
    engine.receive(4, ModelWeights(policy).tensors())
    assert info(engine)["flushed"] == flushed + 1


def test_a_weight_nothing_was_sent_for_is_named(engine: SglangServer, policy: Any) -> None:
    tensors = [p for p in ModelWeights(policy).tensors() if p.names != ("model.norm.weight",)]
    (received,) = engine.receive(5, tensors)
    assert list(received.missing) == ["model.norm.weight"]
    assert not engine.receive(6, ModelWeights(policy).tensors())[0].missing


def test_tied_weights_travel_once(config: EngineConfig, engine: SglangServer, policy: Any) -> None:
    names = ("model.embed_tokens.weight", "lm_head.weight")
    tied = policy.get_input_embeddings().weight
    rest = [p for p in ModelWeights(policy).tensors() if p.names[0] not in names]
    (received,) = engine.receive(7, [Published(names, tied), *rest])
    assert received.fingerprints[names[0]] == fingerprint(tied) and names[1] not in received.fingerprints
    assert not received.missing
    engine.receive(8, ModelWeights(policy).tensors())


def test_sleep_and_wake(engine: SglangServer) -> None:
    engine.sleep()
    assert info(engine)["asleep"] == ["cuda_graph", "kv_cache", "weights"]
    engine.wake("weights")
    assert info(engine)["asleep"] == ["cuda_graph", "kv_cache"]
    engine.wake("cache")
    assert info(engine)["asleep"] == []


def test_nobody_drives_our_server_without_its_key(engine: SglangServer) -> None:
    assert engine.process is not None
    words = " ".join(engine.process.command) + str(engine.process.env)
    assert engine._key and engine._key not in words and not Path(engine.process.command[-1]).exists()
    with pytest.raises(RuntimeError, match="wants another API key"):
        SglangServer(engine.config, [EOS], engine.url)


def test_a_server_that_runs_already(engine: SglangServer, policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server.KEY, engine._key)
    attached = SglangServer(replace(engine.config, sync_backend="gloo"), [EOS], engine.url)
    for version in (10, 11):
        tensors = list(ModelWeights(policy).tensors())
        received = attached.receive(version, tensors)
        check_arrival(version, {p.names[0]: fingerprint(p.tensor) for p in tensors}, received)
    assert drawn(attached, GREEDY) == drawn(engine, GREEDY) and not attached.survives
    with pytest.raises(RuntimeError, match="not ours to start again"):
        attached.restart()
    attached.close()
    assert drawn(engine, GREEDY)


def test_a_server_started_otherwise_is_refused(engine: SglangServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server.KEY, engine._key)
    monkeypatch.setattr(server, "NEEDED", {"custom_weight_loader": None})
    with pytest.raises(RuntimeError, match="start it as"):
        SglangServer(engine.config, [EOS], engine.url)


def test_nobody_there(config: EngineConfig) -> None:
    with pytest.raises(EngineDied, match="is gone"):
        SglangServer(config, [EOS], "http://127.0.0.1:9")


def test_a_server_killed_mid_run_is_started_again_and_nothing_is_lost_or_said_twice(
    config: EngineConfig, policy: Any, engine: SglangServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPBACK_FAULT", "die5")
    mortal = SglangServer(replace(config, max_num_seqs=1), [EOS])
    mortal.receive(1, ModelWeights(policy).tensors())
    monkeypatch.delenv("LOOPBACK_FAULT")
    requests = [Request(PROMPTS[i % 3], SamplingParams(temperature=1.5, max_new_tokens=6), i) for i in range(40)]
    came: dict[int, Completion] = {}
    with pytest.raises(EngineDied, match=r"killed by signal 9"):
        mortal.complete(requests, came.__setitem__)
    assert len(came) < 40 and not any(answer.error for answer in came.values())
    mortal.restart()
    mortal.receive(1, ModelWeights(policy).tensors())
    missing = [index for index in range(40) if index not in came]
    rest = dict(zip(missing, answers(mortal, [requests[index] for index in missing]), strict=True))
    mortal.close()
    assert [(came | rest)[index] for index in range(40)] == answers(engine, requests)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("hang", "no progress for 3 s; answers missing: 3"), ("slow", "update_weights_from_tensor within 3 s")],
)
def test_what_was_waited_for_is_named(
    config: EngineConfig, policy: Any, fault: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPBACK_FAULT", fault)
    stuck = SglangServer(config, [EOS])
    stuck.config = replace(config, timeout=3.0)
    try:
        with pytest.raises(EngineTimeout, match=words):
            if fault == "slow":
                stuck.receive(1, ModelWeights(policy).tensors())
            drawn(stuck, GREEDY)
    finally:
        stuck.close()


def info(backend: SglangServer) -> dict[str, Any]:
    """What the server says of itself."""
    answer: dict[str, Any] = backend.run(backend._ask("/server_info", None))
    return answer
