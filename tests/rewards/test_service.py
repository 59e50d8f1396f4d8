"""The reward service on loopback: every sample has one status, whatever becomes of it, and nobody waits for others."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.service.batching import BatchingQueue, Call, Ticket
from lightrft_rewards.service.schema import ANSWER_SCHEMA
from lightrft_rewards.service.server import RewardServer
from lightrft_rewards.service.service import ServiceLimits

from .served import SECRET, Scripted, client_of, request, running, until

ANSWER = Draft202012Validator(ANSWER_SCHEMA)


@pytest.fixture(scope="module")
def scorer() -> Scripted:
    return Scripted()


@pytest.fixture(scope="module")
def client(scorer: Scripted) -> Iterator[httpx.Client]:
    with running(scorer) as server, client_of(server) as opened:
        yield opened


def results(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    content = response.json()
    ANSWER.validate(content)
    found: list[dict[str, Any]] = content["results"]
    return found


def test_every_sample_has_one_result_in_order_and_only_culprits_have_errors(client: httpx.Client) -> None:
    texts = ["a", "error", "bb", "crash", "nan", "late", "ccc"]
    media = [{"modality": "image", "data": "no image"}]
    body = request(*texts)
    body["samples"].append({"id": "shown", "response": "dddd", "media": media})
    found = results(client.post("/v1/score", json=body | {"request_id": "mine"}))
    assert [result["id"] for result in found] == [*"0123456", "shown"]
    assert [result["status"] for result in found] == [
        "ok",
        "error",
        "ok",
        "error",
        "error",
        "timeout",
        "ok",
        "rejected",
    ]
    assert [result["score"] for result in found] == [1.0, None, 2.0, None, None, None, 3.0, None]
    assert found[0]["parts"] == {"length": 1.0}
    assert found[0]["metrics"] == {"seen": 2.0}
    assert found[0]["accuracy"] == 0.5
    assert [result["steps"] for result in found[:3]] == [[[1, 0.25]], [], [[2, 0.25]]]
    words = ["", "not to be judged", "", "RuntimeError", "nan, which is no reward", "not judged in time", "", "base64"]
    for result, expected in zip(found, words, strict=True):
        assert expected in result["error"]


def test_a_request_keeps_its_id_and_learns_who_judged(client: httpx.Client) -> None:
    content = client.post("/v1/score", json=request("a", request_id="mine")).json()
    assert (content["request_id"], content["fingerprint"]) == ("mine", "scripted")
    given = [client.post("/v1/score", json=request("a")).json()["request_id"] for _ in range(2)]
    assert len(set(given)) == 2


def test_neighbours_that_answer_one_prompt_are_one_call(client: httpx.Client, scorer: Scripted) -> None:
    samples = [
        {"id": str(i), "prompt": prompt, "response": "a", "messages": [{"role": "user", "content": turn}]}
        for i, (prompt, turn) in enumerate([("p", "x"), ("p", "x"), ("q", "x"), ("q", "y"), ("p", "x")])
    ]
    results(client.post("/v1/score", json={"version": 1, "samples": samples}))
    assert scorer.calls[-1] == [2, 1, 1, 1]


def test_answers_are_sent_at_once(client: httpx.Client) -> None:
    at_once = 0
    for _ in range(1000):  # a busy machine may hold up many, but not all
        began = time.monotonic()
        client.post("/v1/score", json=request("a"))
        at_once += time.monotonic() - began < 0.035
        if at_once > 30:
            return
    raise AssertionError("an acknowledgement that is waited for comes after 0.04 s")


def test_samples_arrive_with_all_that_was_sent(client: httpx.Client, scorer: Scripted) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "hm"}], "name": "Ann"}]
    sample = {"id": "7", "response": "a", "label": {"x": [1, None]}, "route": "math", "messages": messages}
    results(client.post("/v1/score", json={"version": 1, "samples": [sample, sample | {"id": "8", "name": "row 3"}]}))
    first, second = scorer.seen[-2:]
    assert (first.label, first.route, first.name, first.prompt) == ({"x": [1, None]}, "math", "sample 7", "")
    assert list(first.messages) == messages
    assert second.name == "row 3"


def test_media_arrive_as_records_that_messages_name(client: httpx.Client, scorer: Scripted) -> None:
    from PIL import Image

    from lightrft_multimodal import load_image, to_wire

    red, blue = (load_image(Image.new("RGB", (8, 8), colour)) for colour in ("red", "blue"))
    parts = [{"type": "image"}, {"type": "text", "text": "or"}, {"type": "image", "sha256": "a lie"}]
    turns = [{"role": "user", "content": parts}, {"role": "user", "content": "which?"}]
    sent = {"response": "a", "media": [to_wire(red), to_wire(blue)]}
    samples = [
        {"id": "in its messages", "messages": turns, **sent},
        {"id": "without messages", "prompt": "which?", **sent},
        {"id": "fewer", "messages": turns, **sent, "media": [to_wire(red)]},
        {"id": "none", "messages": turns, "response": "a"},
    ]
    found = results(client.post("/v1/score", json={"version": 1, "samples": samples}))
    assert [result["status"] for result in found] == ["ok", "ok", "rejected", "rejected"]
    assert "its messages show image, image; sent were image" in found[2]["error"]
    assert "no media were sent" in found[3]["error"]
    shown, bare = scorer.seen[-2:]
    assert shown.media == bare.media == (red, blue)
    hashes = [red.sha256, blue.sha256]
    assert [part["sha256"] for part in shown.messages[0]["content"] if part["type"] == "image"] == hashes
    assert shown.messages[0]["content"][1]["text"] == "or"
    assert [part.get("sha256", part.get("text")) for part in bare.messages[0]["content"]] == [*hashes, "which?"]


def test_samples_of_several_requests_are_judged_together_while_the_scorer_is_busy() -> None:
    scorer = Scripted()
    with running(scorer, max_batch=8) as server, client_of(server) as client, ThreadPoolExecutor(12) as threads:
        first = threads.submit(client.post, "/v1/score", json=request("wait"))
        assert scorer.waiting.wait(60)
        others = [threads.submit(client.post, "/v1/score", json=request("a", "bb", "ccc")) for _ in range(4)]
        until(lambda: server.service.queue_length == 12)
        scorer.let_go.set()
        assert [[result["score"] for result in results(other.result())] for other in others] == [[1.0, 2.0, 3.0]] * 4
        assert results(first.result())[0]["status"] == "ok"
    assert scorer.batches == [1, 8, 4]


def test_a_call_that_fails_is_judged_again_one_by_one() -> None:
    scorer = Scripted()
    with running(scorer) as server, client_of(server) as client:
        samples = [{"id": text, "prompt": "p", "response": text} for text in ("a", "crash", "bb")]
        found = results(client.post("/v1/score", json={"version": 1, "samples": samples}))
    assert [result["score"] for result in found] == [1.0, None, 2.0]
    assert scorer.batches == [3, 1, 1, 1]


def test_what_is_late_when_its_turn_comes_is_not_judged() -> None:
    async def take() -> tuple[list[str], Ticket]:
        queue = BatchingQueue(max_batch=4, max_wait=0.0, max_queue=4)
        late, timely = (Ticket(time.monotonic() + seconds, [None]) for seconds in (-1.0, 60.0))
        for ticket, text in ((late, "late"), (timely, "timely")):
            queue.put(ticket, [Call(ticket, [0], [Sample(text)])])
        batch = await queue.take()
        assert len(queue) == 0
        return [call.samples[0].response for call in batch], late

    taken, late = asyncio.run(take())
    assert taken == ["timely"]
    assert late.outcomes == [Outcome(timed_out=True)]


def test_a_timer_that_fires_early_makes_no_client_that_waits_one_that_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wait = asyncio.wait

    async def early(tasks: Any, *, timeout: float | None = None, **more: Any) -> Any:
        return await wait(tasks, timeout=None if timeout is None else timeout / 2, **more)

    monkeypatch.setattr(asyncio, "wait", early)
    with running(Scripted()) as server, client_of(server) as client:
        (found,) = results(client.post("/v1/score", json=request("wait", deadline=0.4)))
    assert found["status"] == "timeout"


def test_a_sample_waits_a_moment_for_company_and_no_longer() -> None:
    scorer, alone = Scripted(), Scripted()
    company: dict[str, Any] = {"max_wait": 90.0, "max_batch": 2}
    with running(scorer, **company) as server, client_of(server) as client, ThreadPoolExecutor(2) as threads:
        posts = [threads.submit(client.post, "/v1/score", json=request("a")) for _ in range(2)]
        assert [post.result().status_code for post in posts] == [200, 200]
    assert scorer.batches == [2]
    with running(alone, max_wait=0.3) as server, client_of(server) as client:
        began = time.monotonic()
        assert client.post("/v1/score", json=request("a")).status_code == 200
        assert time.monotonic() - began > 0.25
    assert alone.batches == [1]


def test_a_call_of_more_than_a_batch_is_cut() -> None:
    scorer = Scripted()
    with running(scorer, max_batch=3) as server, client_of(server) as client:
        samples = [{"id": str(i), "prompt": "p", "response": "a" * i} for i in range(8)]
        found = results(client.post("/v1/score", json={"version": 1, "samples": samples}))
    assert [result["score"] for result in found] == [float(i) for i in range(8)]
    assert scorer.batches == [3, 3, 2]


def test_a_scorer_that_hangs_holds_nobody_beyond_the_deadline_and_judges_nothing_that_is_late() -> None:
    scorer = Scripted()
    with running(scorer, max_batch=1) as server, client_of(server) as client:
        began = time.monotonic()
        found = results(client.post("/v1/score", json=request("aa", "wait", "bbb", deadline=1.5)))
        assert 1.45 < time.monotonic() - began < 60, "the scorer would hang for longer"
        assert [result["status"] for result in found] == ["ok", "timeout", "timeout"]
        health = client.get("/health").json()
        assert health["queue"] == 0
        assert health["busy_seconds"] > 1.0
        scorer.let_go.set()
        assert results(client.post("/v1/score", json=request("cc")))[0]["score"] == 2.0
    assert [sample.response for sample in scorer.seen] == ["aa", "wait", "cc"]


def test_a_full_queue_sends_away_until_there_is_room() -> None:
    scorer = Scripted()
    with running(scorer, max_queue=3) as server, client_of(server) as client, ThreadPoolExecutor(2) as threads:
        first = threads.submit(client.post, "/v1/score", json=request("wait"))
        assert scorer.waiting.wait(60)
        second = threads.submit(client.post, "/v1/score", json=request("a", "b"))
        until(lambda: server.service.queue_length == 2)
        refused = client.post("/v1/score", json=request("c", "d"))
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["retry_after"] > 0
        assert "2 samples wait already" in refused.json()["error"]
        never = client.post("/v1/score", json=request(*"abcd"))
        assert never.status_code == 413
        assert "4 samples are more than the 3 that may wait" in never.json()["error"]
        scorer.let_go.set()
        assert len(results(first.result())) == 1
        assert len(results(second.result())) == 2
        assert len(results(client.post("/v1/score", json=request("c", "d")))) == 2


def test_too_large_a_request_is_refused_before_it_is_held() -> None:
    limits = {"max_request_bytes": 4_000_000, "max_held_bytes": 5_000_000}
    with running(Scripted(), **limits) as server, client_of(server) as client:
        for size in (4_000_000, 15_000_000):
            refused = client.post("/v1/score", json=request("a" * size))
            assert refused.status_code == 413
            assert "larger than 4000000 bytes" in refused.json()["error"]
        simple = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        simple.request("POST", "/v1/score", b" " * 15_000_000)
        assert simple.getresponse().status == 413, "also a client hears it that sends all before it listens"
        simple.close()
        pieces = (b" " * 100_000 for _ in range(60))
        assert client.post("/v1/score", content=pieces).status_code == 413
        assert server.service.held_bytes == 0
        assert client.post("/v1/score", json=request("a" * 3_900_000)).status_code == 200


def test_bodies_together_are_held_within_bounds() -> None:
    scorer = Scripted()
    limits: dict[str, Any] = {"max_request_bytes": 10_000, "max_held_bytes": 12_000}
    with running(scorer, **limits) as server, client_of(server) as client, ThreadPoolExecutor(1) as threads:
        body = request("wait") | {"request_id": "a" * 100}
        body["samples"][0]["prompt"] = "p" * 8_000
        first = threads.submit(client.post, "/v1/score", json=body)
        assert scorer.waiting.wait(60)
        refused = client.post("/v1/score", json=request("b" * 8_000))
        assert (refused.status_code, "too many bytes" in refused.text) == (503, True)
        scorer.let_go.set()
        assert first.result().status_code == 200
        assert server.service.held_bytes == 0


def test_a_client_that_goes_away_takes_its_samples_with_it() -> None:
    scorer = Scripted()
    with running(scorer, max_batch=1) as server, client_of(server) as client, ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.post, "/v1/score", json=request("wait"))
        assert scorer.waiting.wait(60)
        hasty = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        hasty.request("POST", "/v1/score", json.dumps(request("a", "b")), {"content-type": "application/json"})
        until(lambda: server.service.queue_length == 2)
        hasty.close()
        until(lambda: server.service.queue_length == 0 and server.service.open_requests == 1)
        scorer.let_go.set()
        assert results(first.result())[0]["status"] == "ok"
        assert 'samples_total{status="timeout"} 0' in client.get("/metrics").text
    assert [sample.response for sample in scorer.seen] == ["wait"]


def test_who_has_no_token_learns_nothing() -> None:
    with (
        running(Scripted(), key="s3cret") as server,
        client_of(server) as stranger,
        client_of(server, "s3cret") as friend,
    ):
        for path in ("/v1/score", "/", "/get_reward"):
            refused = stranger.post(path, content=b"not read")
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        for wrong in (
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer S3cret",
            "Bearer",
            "Basic s3cret",
            "s3cret",
            "Bearer é",
        ):
            headers = [(b"authorization", wrong.encode())]
            assert stranger.post("/v1/score", headers=headers).status_code == 401
        assert stranger.get("/metrics").status_code == 401
        assert stranger.get("/health").json() == {"service": "lightrft-rewards", "version": 1, "status": "ready"}
        assert friend.get("/health").json()["fingerprint"] == "scripted"
        assert len(results(friend.post("/v1/score", json=request("a")))) == 1


def test_while_it_loads_it_says_so_and_what_cannot_be_loaded_ends_it() -> None:
    gate = threading.Event()

    def build() -> Scripted:
        assert gate.wait(60)
        raise RewardSetupError("there is no such reward")

    server = RewardServer(build)
    failures: list[Exception] = []

    def run() -> None:
        try:
            server.run()
        except RewardSetupError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with client_of(server) as client:
        assert (client.get("/health").status_code, client.get("/health").json()["status"]) == (503, "loading")
        early = client.post("/v1/score", json=request("a"))
        assert (early.status_code, early.json()["status"]) == (503, "loading")
        gate.set()
        thread.join(60)
    assert [str(error) for error in failures] == ["there is no such reward"]


def test_an_ending_service_answers_what_it_has_and_takes_nothing_new() -> None:
    scorer = Scripted()
    server = RewardServer(lambda: scorer, drain_seconds=120.0)
    thread = threading.Thread(target=server.run)
    thread.start()
    with client_of(server) as client, ThreadPoolExecutor(2) as threads:
        until(lambda: server.service.state == "ready")
        inside = [threads.submit(client.post, "/v1/score", json=request("wait", "a")) for _ in range(2)]
        until(lambda: server.service.open_requests == 2)
        assert scorer.waiting.wait(60)
        server.stop()
        until(lambda: client.get("/health").json()["status"] == "draining")
        refused = client.post("/v1/score", json=request("b"))
        assert (refused.status_code, refused.json()["status"]) == (503, "draining")
        scorer.let_go.set()
        assert [[result["status"] for result in results(one.result())] for one in inside] == [["ok", "ok"]] * 2
        thread.join(60)
        assert not thread.is_alive()
        with pytest.raises(httpx.ConnectError):
            client.get("/health")
    assert scorer.closed == 1


def test_what_was_done_can_be_counted() -> None:
    with running(Scripted()) as server, client_of(server) as client:
        client.post("/v1/score", json=request("a", "error", "late"))
        client.post("/v1/score", json=request("crash", "b"))
        client.post("/v1/score", content=b"?")
        lines = client.get("/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    name = "lightrft_reward_"
    assert {status: values[f'{name}samples_total{{status="{status}"}}'] for status in ("ok", "error", "timeout")} == {
        "ok": "2",
        "error": "2",
        "timeout": "1",
    }
    assert values[f'{name}answers_total{{code="200"}}'] == "2"
    assert values[f'{name}answers_total{{code="400"}}'] == "1"
    assert values[f'{name}batch_samples_bucket{{le="2"}}'] == "1"
    assert values[f'{name}batch_samples_bucket{{le="+Inf"}}'] == values[f"{name}batch_samples_count"] == "2"
    assert values[f"{name}batch_samples_sum"] == "5.0"
    assert values[f"{name}request_seconds_count"] == "3"
    assert values[f"{name}scorer_failures_total"] == "2"
    assert values[f"{name}queue_samples"] == values[f"{name}open_requests"] == "0"
    named = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {key.partition("{")[0].removesuffix("_bucket") for key in values} - named <= {
        f"{histogram}_{what}" for histogram in named for what in ("sum", "count")
    }


def test_nothing_of_an_answer_stands_in_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with running(Scripted()) as server, client_of(server) as client:
        client.post("/v1/score", json=request(SECRET, "crash", "error", request_id="r" + SECRET))
        client.post("/v1/score", content=f'{{"version": 1, "samples": "{SECRET}"'.encode())
        client.post("/get_reward", json={"query": [SECRET], "prompts": ["p"]})
    assert "the scorer failed on a batch of 3 samples: RuntimeError" in caplog.text
    assert SECRET not in caplog.text


def test_an_address_in_use_is_told_by_its_flag() -> None:
    with running(Scripted()) as server, pytest.raises(RewardSetupError, match=f"port {server.port}.*another --port"):
        RewardServer(Scripted, port=server.port)


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_queue": 0}, {"deadline": 0.0}, {"max_held_bytes": 5}])
def test_limits_that_let_nothing_through_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lets nothing through"):
        ServiceLimits(**wrong)
