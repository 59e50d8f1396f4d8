"""The client of reward services: each sample has one outcome, whatever happens to services on the way."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.notes import LIMIT
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.service.client import RemoteScorer
from lightrft_rewards.service.endpoints import Endpoint, Rotation

from .served import SECRET, Scripted, foreign, running


def calls_of(*texts: str, size: int = 1) -> list[list[Sample]]:
    """Calls of `size` answers each."""
    samples = [Sample(text, prompt=f"p{i // size}", name=f"row {i}") for i, text in enumerate(texts)]
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def flat(outcomes: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    return [outcome for call in outcomes for outcome in call]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints that fail are left alone for moments only."""
    monkeypatch.setattr("lightrft_rewards.service.endpoints.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("lightrft_rewards.service.endpoints.SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr("lightrft_rewards.service.client._PAUSE", 0.05)


class Flaky(Scripted):
    """Says of each sample in `failing` that judging failed, so many times."""

    def __init__(self, failing: dict[str, int]) -> None:
        super().__init__()
        self.failing = Counter(failing)
        self.asked = Counter[str]()

    def _outcome(self, sample: Sample) -> Outcome:
        self.asked[sample.response] += 1
        if self.failing[sample.response] > 0:
            self.failing[sample.response] -= 1
            return Outcome(error=f"{sample.name}: not now")
        return super()._outcome(sample)


def test_outcomes_are_those_of_the_scorer_nested_as_the_calls_are() -> None:
    scorer = Scripted()
    texts = ["a" * (i % 7) for i in range(100)]
    with running(scorer) as server:
        client = RemoteScorer([server.url], chunk_size=8)
        calls = calls_of(*texts, size=5)
        outcomes = client.score(calls)
        assert [len(call) for call in outcomes] == [5] * 20
        parts = {"remote": 3.0, "remote.length": 1.0}
        assert flat(outcomes)[3] == Outcome(3.0, 0.5, parts, {"seen": 2.0}, steps=((3, 0.25),))
        assert [outcome.score for outcome in flat(outcomes)] == [float(len(text)) for text in texts]
        assert client.score([[], [Sample("aa")]])[1][0].score == 2.0
        assert client.score([]) == []
        client.close()
    assert Counter(size for call in scorer.calls for size in call) == {5: 20, 1: 1}, "calls stay whole"


def test_failures_are_outcomes_and_only_failed_samples_are_sent_again() -> None:
    scorer = Flaky({"once": 1, "always": 100})
    with running(scorer) as server:
        client = RemoteScorer([server.url], name="rm")
        judged = flat(client.score(calls_of("a", "once", "late", "always", "bb", size=5)))
        assert "RuntimeError" in flat(client.score(calls_of("crash")))[0].error
        client.close()
    assert [outcome.score for outcome in judged] == [1.0, 4.0, None, None, 2.0]
    assert [outcome.timed_out for outcome in judged] == [False, False, True, False, False]
    assert judged[3].error == "rm: row 3: not now"
    assert scorer.asked == {"a": 1, "once": 2, "late": 1, "always": 2, "bb": 1, "crash": 2}


def test_what_judges_wrote_comes_along_without_the_key_and_as_a_file_can_hold_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEY_OF_REWARDS", "k-" + "y" * 40)
    long = "quote " + "a" * (LIMIT - 20) + " k-" + "y" * 40
    with running(Scripted()) as server:
        client = RemoteScorer([server.url], name="far", key_env="KEY_OF_REWARDS")
        quoted, half, cut, plain = flat(client.score(calls_of("quote k-" + "y" * 40, "quote \ud800", long, "plain")))
        client.close()
    assert quoted.notes == {"far.length": "quote ***"}
    assert half.notes == {"far.length": "quote ?"}
    assert len(cut.notes["far.length"]) <= LIMIT
    assert plain.notes == {}


def test_a_gateway_without_a_service_behind_it_is_waited_for_and_no_samples_time_is_spent() -> None:
    back = time.monotonic() + 3.0

    def gateway(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return (200, {"rewards": [1.0] * len(body["query"])}) if time.monotonic() > back else (503, "no backend")

    with foreign(gateway) as url:
        client = RemoteScorer([url], dialect="openrlhf", timeout=1.5, patience=120)
        judged = flat(client.score(calls_of("a", "bb", size=2)))
        client.close()
    assert [outcome.score for outcome in judged] == [1.0, 1.0]


def test_a_gateway_that_nobody_ever_stands_behind_is_an_error_after_patience() -> None:
    with foreign(lambda path, body: (503, "no backend")) as url:
        client = RemoteScorer([url], dialect="openrlhf", timeout=60, patience=0.6)
        (judged,) = flat(client.score(calls_of("a")))
        client.close()
    assert "no reward service answered for 0.6 s" in judged.error
    assert "HTTP 503" in judged.error


def test_a_sample_that_a_service_rejects_is_an_error_and_not_sent_again() -> None:
    scorer = Scripted()
    turn = {"role": "user", "content": [{"type": "image"}]}
    with running(scorer) as server:
        client = RemoteScorer([server.url])
        sample = Sample("a", messages=(turn,), name="row 9")
        (judged,) = flat(client.score([[sample]]))
        client.close()
    assert judged.error == "remote: row 9: its messages have media parts, and no media were sent"
    assert scorer.batches == []


def test_labels_that_are_no_json_fail_alone() -> None:
    with running(Scripted()) as server:
        client = RemoteScorer([server.url])
        labels: list[Any] = [1, {1, 2}, "3", float("nan")]
        judged = flat(client.score([[Sample("a", label=label, name=f"row {label}") for label in labels]]))
        client.close()
    assert [outcome.score for outcome in judged] == [1.0, None, 1.0, None]
    assert "its label must be plain JSON" in judged[1].error
    assert "NaN" in judged[3].error


def test_media_travel() -> None:
    from PIL import Image

    from lightrft_multimodal import load_image

    record = load_image(Image.new("RGB", (9, 7), "green"))
    parts = [{"type": "image", "sha256": record.sha256}, {"type": "text", "text": "colour?"}]
    sample = Sample("a", messages=({"role": "user", "content": parts},), media=(record,))
    for dialect, path, expected in (("native", "", parts), ("lightrft", "/get_reward", None)):
        scorer = Scripted()
        with running(scorer) as server:
            client = RemoteScorer([server.url + path], dialect=dialect)  # type: ignore[arg-type]
            assert flat(client.score([[sample]]))[0].score == 1.0
            client.close()
        assert scorer.seen[0].media == (record,)
        assert expected is None or list(scorer.seen[0].messages[0]["content"]) == expected
    with running(Scripted()) as server:
        client = RemoteScorer([server.url], dialect="openrlhf")
        plain, shown = flat(client.score([[Sample("bb"), sample]]))
        client.close()
    assert plain.score == 2.0
    assert "the dialect openrlhf carries no image" in shown.error


def test_samples_are_spread_over_endpoints_and_a_dead_one_costs_nothing() -> None:
    first, second = Scripted(), Scripted()
    dead = f"http://127.0.0.1:{free_port()}"
    with running(first) as one, running(second) as two:
        client = RemoteScorer([one.url, dead, two.url], chunk_size=2, connections=2)
        texts = ["a" * (i % 5) for i in range(600)]
        began = time.monotonic()
        judged = flat(client.score(calls_of(*texts)))
        assert time.monotonic() - began < 60, "a hundred waits for the dead one would take longer"
        client.close()
    assert [outcome.score for outcome in judged] == [float(len(text)) for text in texts]
    assert len(first.seen) + len(second.seen) == 600
    assert min(len(first.seen), len(second.seen)) > 10


def test_a_service_that_breaks_off_in_the_middle_is_asked_again_once_it_is_back() -> None:
    port, scorer = free_port(), Scripted()
    broken = threading.Event()

    def cut_off() -> None:
        """A server that reads requests and hangs up."""
        with socket.create_server(("127.0.0.1", port)) as listener:
            while not broken.is_set():
                connection, _ = listener.accept()
                connection.recv(65536)
                broken.set()
                connection.close()

    thread = threading.Thread(target=cut_off)
    thread.start()
    client = RemoteScorer([f"http://127.0.0.1:{port}"], dialect="native", timeout=60.0)
    found: list[list[list[Outcome]]] = []
    judge = threading.Thread(target=lambda: found.append(client.score(calls_of("a", "bb", size=2))))
    judge.start()
    thread.join(60)
    time.sleep(0.2)
    with running(scorer, port=port):
        judge.join(60)
    client.close()
    assert [outcome.score for outcome in flat(found[0])] == [1.0, 2.0]
    assert scorer.batches == [2]


def test_a_service_that_never_comes_back_is_an_error_after_patience_for_all_samples_together() -> None:
    client = RemoteScorer([f"http://127.0.0.1:{free_port()}"], patience=0.6, chunk_size=1, connections=1)
    began = time.monotonic()
    judged = flat(client.score(calls_of(*"abcdefgh" * 20)))
    assert 0.5 < time.monotonic() - began < 60, "each by itself would take 96 s"
    client.close()
    assert all("no reward service answered for 0.6 s" in outcome.error for outcome in judged)
    assert all("ConnectError" in outcome.error and not outcome.timed_out for outcome in judged)


def test_a_service_that_is_too_slow_is_a_time_out() -> None:
    scorer = Scripted()
    with running(scorer, max_batch=1) as server:
        client = RemoteScorer([server.url], timeout=1.5)
        assert flat(client.score(calls_of("wait", "a"))) == [Outcome(timed_out=True)] * 2
        scorer.let_go.set()
        assert flat(client.score(calls_of("aa")))[0].score == 2.0
        client.close()


def test_a_full_service_is_asked_again_until_it_has_room() -> None:
    scorer = Scripted()
    with running(scorer, max_queue=2, max_batch=1) as server:
        client = RemoteScorer([server.url], chunk_size=1, connections=6)
        threading.Timer(0.3, scorer.let_go.set).start()
        judged = flat(client.score(calls_of("wait", *["a"] * 12)))
        client.close()
    assert [outcome.score for outcome in judged] == [4.0] + [1.0] * 12


def test_samples_that_bring_a_service_down_are_found_and_the_others_judged() -> None:
    died = Counter[str]()

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if "poison" in body["query"]:
            died["poison"] += 1
            return 502, {}
        return 200, {"rewards": [float(len(query)) for query in body["query"]]}

    with foreign(answer) as url:
        client = RemoteScorer([url], retries=0)
        judged = flat(client.score([[Sample("a"), Sample("bb"), Sample("poison", name="row 2"), Sample("dddd")]]))
        client.close()
    assert [outcome.score for outcome in judged] == [1.0, 2.0, None, 4.0]
    assert "row 2: services failed 4 times when they were asked about it" in judged[2].error
    assert died["poison"] < 12


def test_tokens_come_from_the_environment_and_a_wrong_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Scripted(), key="s3cret") as server:
        monkeypatch.setenv("KEY_OF_REWARDS", "s3cret\n")
        client = RemoteScorer([server.url], key_env="KEY_OF_REWARDS")
        assert flat(client.score(calls_of("aa")))[0].score == 2.0
        assert client.fingerprint()
        client.close()
        stranger = RemoteScorer([server.url])
        with pytest.raises(RewardSetupError, match="asks for a token"):
            stranger.fingerprint()
        assert "asks for a token" in flat(stranger.score(calls_of("a")))[0].error
        stranger.close()
    monkeypatch.delenv("KEY_OF_REWARDS")
    with pytest.raises(RewardSetupError, match="KEY_OF_REWARDS"):
        RemoteScorer(["http://127.0.0.1:1"], key_env="KEY_OF_REWARDS")


def test_a_service_that_quotes_the_token_does_not_get_it_into_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_REWARDS", "s3cret-token")
    with foreign(lambda path, body: (422, {"detail": "Bearer s3cret-token may not do that"})) as url:
        client = RemoteScorer([url], key_env="KEY_OF_REWARDS", dialect="openrlhf", timeout=60)
        [[outcome]] = client.score(calls_of("a"))
        client.close()
    assert "Bearer *** may not do that" in outcome.error


@pytest.mark.parametrize("token", ["k\u00e9y", "two\nlines"])
def test_a_token_that_no_header_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("KEY_OF_REWARDS", token)
    with pytest.raises(RewardSetupError, match="KEY_OF_REWARDS holds letters that no key has"):
        RemoteScorer(["http://127.0.0.1:1"], key_env="KEY_OF_REWARDS")


def test_its_fingerprint_is_of_the_reward_and_endpoints_must_agree_on_it() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def fingerprint() -> str:
        client = RemoteScorer([url])
        try:
            return client.fingerprint()
        finally:
            client.close()

    with running(Scripted("one"), port=port) as server:
        first, again = fingerprint(), fingerprint()
        client = RemoteScorer([url])
        assert client.score(calls_of("a"))[0][0].score == 1.0
        with running(Scripted("two")) as other:
            disagreeing = RemoteScorer([server.url, other.url])
            with pytest.raises(RewardSetupError, match="another reward than the other endpoints"):
                disagreeing.fingerprint()
            disagreeing.close()
    with running(Scripted("two"), port=port):
        assert "judges by another reward" in client.score(calls_of("a"))[0][0].error
        assert fingerprint() != first == again
    client.close()


def test_a_service_that_is_loading_is_waited_for() -> None:
    gate, scorer = threading.Event(), Scripted()
    port = free_port()
    client = RemoteScorer([f"http://127.0.0.1:{port}"], patience=120.0)

    def build() -> Scripted:
        assert gate.wait(60)
        return scorer

    threading.Timer(0.4, gate.set).start()
    with running(build, port=port):
        assert client.fingerprint()
        assert client.score(calls_of("a"))[0][0].score == 1.0
    client.close()


def test_servers_of_openrlhf_are_recognised_and_those_of_lightrft_can_be_named() -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        asked.append((path, body))
        texts = body.get("query") or body["queries"]
        rewards = [float(len(text)) for text in texts]
        if "queries" in body:
            return 200, {"rewards": rewards}
        return 200, {"rewards": rewards, "scores": [0.25] * len(texts), "extra_logs": {"n": rewards}}

    sample = Sample("bb", prompt="a", label="x")
    with foreign(answer) as url:
        auto = RemoteScorer([f"{url}/get_reward"])
        assert auto.fingerprint() == auto.fingerprint()
        judged = flat(auto.score([[sample]]))
        named = RemoteScorer([f"{url}/judge"], dialect="lightrft")
        assert flat(named.score([[sample]]))[0].score == 3.0
        auto.close(), named.close()
    assert judged == [Outcome(score=3.0, accuracy=0.25, parts={"remote": 3.0}, metrics={"n": 3.0})]
    assert asked == [
        ("/get_reward", {"query": ["abb"], "prompts": ["a"], "labels": ["x"]}),
        ("/judge", {"queries": ["abb"], "prompts": ["a"], "references": ["x"]}),
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"rewards": [1.0, 2.0, 3.0]},
        {"rewards": [1.0, None]},
        {"rewards": "12"},
        {"reward": [1.0, 2.0]},
        [1.0, 2.0],
        {"rewards": [1.0, float("nan")]},
    ],
)
def test_nonsense_of_a_service_is_never_a_reward(content: Any) -> None:
    with foreign(lambda path, body: (200, content)) as url:
        client = RemoteScorer([url], dialect="openrlhf", patience=0.3, retries=0)
        first, second = flat(client.score([[Sample("a"), Sample("b")]]))
        client.close()
    assert second.score is None
    assert second.error
    assert first.score in (None, 1.0)


GOOD = {"version": 1, "fingerprint": "f", "results": [{"id": "0", "status": "ok", "score": 1.0}]}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"results": []},
        {"results": [{"id": "1", "status": "ok", "score": 1.0}]},
        {"results": [{"id": "0", "status": "fine", "score": 1.0}]},
        {"results": [{"id": "0", "status": "ok", "score": None}]},
        {"results": [{"id": "0", "status": "ok", "score": True}]},
        {"results": [{"id": "0", "status": "ok", "score": "1"}]},
        {"results": [{"id": "0", "status": "ok", "score": 1.0, "steps": [3]}]},
        {"results": [{"id": "0", "status": "ok", "score": 1.0, "parts": {"a": None}}]},
    ],
)
def test_an_answer_that_is_not_ours_is_never_a_reward(change: dict[str, Any]) -> None:
    health = {"service": "lightrft-rewards", "version": 1, "status": "ready", "fingerprint": "f"}
    answers = iter([GOOD, *[GOOD | change] * 9])
    with foreign(lambda path, body: (200, next(answers)), health) as url:
        client = RemoteScorer([url])
        first, second = (flat(client.score([[Sample("a")]]))[0] for _ in range(2))
        client.close()
    assert (first.score, first.error) == (1.0, "")
    assert second.score is None
    assert second.error


def test_nothing_of_an_answer_stands_in_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(Scripted()) as server:
        client = RemoteScorer([server.url, f"http://127.0.0.1:{free_port()}"], chunk_size=1)
        client.score(calls_of(SECRET, "error", "crash"))
        client.close()
    assert SECRET not in caplog.text


@pytest.mark.parametrize("url", ["", "host:80", "ftp://h", "http://", "http://h:99999", "http://me:pw@h"])
def test_urls_that_are_none_are_refused_and_passwords_not_shown(url: str) -> None:
    with pytest.raises(RewardSetupError) as refused:
        RemoteScorer([url])
    assert "pw" not in str(refused.value)


def test_a_closed_client_says_so() -> None:
    client = RemoteScorer(["http://127.0.0.1:1"])
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.score([])


# Rotation


def asked(rotation: Rotation) -> Endpoint:
    endpoint = rotation.next()
    assert isinstance(endpoint, Endpoint)
    return endpoint


def test_the_least_busy_endpoint_is_next_and_equals_take_turns() -> None:
    rotation = Rotation(["a", "b", "c"])
    order = [asked(rotation).url for _ in range(6)]
    assert order == ["a", "b", "c"] * 2
    rotation.answered(rotation.endpoints[1])
    assert asked(rotation).url == "b"


def test_a_dead_endpoint_is_left_alone_for_ever_longer_and_then_tried_by_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lightrft_rewards.service.endpoints.FIRST_PAUSE", 100.0)
    monkeypatch.setattr("lightrft_rewards.service.endpoints.LONGEST_PAUSE", 10_000.0)
    rotation = Rotation(["a"])
    (endpoint,) = rotation.endpoints
    pauses = []
    for _ in range(4):
        endpoint.rests_until = 0.0
        rotation.failed(asked(rotation), "gone")
        pauses.append(endpoint.rests_until - time.monotonic())
    assert all(longer > 1.1 * shorter for shorter, longer in pairwise(pauses))
    assert rotation.down
    assert isinstance(rotation.next(), float)
    endpoint.rests_until = 0.0
    assert asked(rotation) is endpoint
    assert isinstance(rotation.next(), float), "one request tries it"
    rotation.answered(endpoint)
    assert not rotation.down
    assert [asked(rotation).url for _ in range(3)] == ["a"] * 3


def test_requests_that_fail_together_are_one_failure() -> None:
    rotation = Rotation(["a"])
    for endpoint in [asked(rotation) for _ in range(5)]:
        rotation.failed(endpoint, "gone")
    assert rotation.endpoints[0].failures == 1
    assert rotation.endpoints[0].in_flight == 0


def test_refused_endpoints_are_never_asked_again() -> None:
    rotation = Rotation(["a", "b"])
    rotation.refuse(asked(rotation), "wrong token")
    assert [asked(rotation).url for _ in range(3)] == ["b"] * 3
    rotation.refuse(rotation.endpoints[1], "wrong token")
    assert rotation.next() is None
    assert "a: wrong token; b: wrong token" in rotation.troubles()


def test_the_client_needs_nothing_but_the_kit() -> None:
    program = "import sys, lightrft_rewards.service.client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "httpx" in loaded
    heavy = {"torch", "transformers", "fastapi", "uvicorn", "lightrft_core", "lightrft_multimodal", "jsonschema"}
    assert heavy.isdisjoint(loaded)
