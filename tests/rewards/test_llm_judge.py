"""An LLM as judge, against chat servers that answer, hurry, dawdle, refuse and break on loopback."""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightrft_multimodal import load_audio, load_image
from lightrft_rewards import Outcome, RewardSetupError, Sample
from lightrft_rewards.judge_prompt import NoGrade, Question
from lightrft_rewards.llm_judge import LLMJudge
from lightrft_rewards.notes import LIMIT

KEY = "sk-nobody-may-read-this"
Answer = tuple[int, Any, dict[str, str]]


def graded(text: str, **more: Any) -> Answer:
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}, **more}]}, {}


@contextmanager
def chat_server(answer: Callable[[dict[str, Any]], Answer | bytes]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """answer: a request's body, with its "path" and "authorization" -> code, content, headers; or raw bytes, sent
    letter by letter. Yields the URL, and the requests as they come."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body |= {"path": self.path, "authorization": self.headers.get("authorization")}
            seen.append(body)
            given = answer(body)
            code, content, headers = (200, b"", {"content-length": "100000"}) if isinstance(given, bytes) else given
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(code)
            for name, value in ({"content-length": str(len(text))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)
            try:
                for letter in given if isinstance(given, bytes) else b"":
                    self.wfile.write(bytes([letter]))
                    time.sleep(0.02)
            except OSError:
                pass

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


def asked(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def judged(judge: LLMJudge, *responses: str) -> list[Outcome]:
    samples = [Sample(text, label="4", prompt="2+2?", name=f"row, sample {text}") for text in responses]
    return judge.score([samples])[0]


def test_a_grade_becomes_a_score_from_0_to_1() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        return graded("Well.\nGrade: 3\nNo, rather:\n**Grade: 7.5**" if "fine" in asked(body) else "Grade: 0")

    with chat_server(answer) as (url, seen), LLMJudge([url], model="m", temperature=0.5, max_tokens=9) as judge:
        outcomes = judge.score([[Sample("fine"), Sample("poor")], [], [Sample("fine")]])
    assert [[outcome.score for outcome in call] for call in outcomes] == [[0.75, 0.0], [], [0.75]]
    first = outcomes[0][0]
    assert replace(first, notes={}) == Outcome(score=0.75, accuracy=0.75, parts={"judge": 0.75})
    assert {body["path"] for body in seen} == {"/v1/chat/completions"}
    assert all((body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.5, 9) for body in seen)
    assert {body["authorization"] for body in seen} == {None}


def test_the_template_is_filled_once_and_braces_elsewhere_mean_nothing() -> None:
    question = Question(template='{prompt}|{response}|{label}|{"json": {}}', system="Be just.")
    system, user = question.messages(Sample("{label} {prompt}", label={"a": 1}, prompt="{response}"))
    assert system == {"role": "system", "content": "Be just."}
    assert user == {"role": "user", "content": '{response}|{label} {prompt}|{"a": 1}|{"json": {}}'}
    assert Question(template="{response}{label}").messages(Sample("x"))[0]["content"] == "xnone"


def test_a_conversation_is_shown_with_its_roles() -> None:
    turns = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "yes?"}]})
    [user] = Question(template="{prompt}\n--\n{response}").messages(Sample("r", messages=turns))
    assert user["content"] == "user: hi\n\nassistant: yes?\n--\nr"


def test_media_stand_where_the_prompt_has_them() -> None:
    picture = load_image(Image.new("RGB", (4, 3), (200, 10, 10)))
    sound = load_audio((np.tile(np.array([0.0, 0.5, -1.0, 1.0], dtype=np.float32), 500), 16000))
    content = [
        {"type": "text", "text": "See "},
        {"type": "image", "sha256": picture.sha256},
        {"type": "text", "text": " and hear "},
        {"type": "audio", "sha256": sound.sha256},
    ]
    sample = Sample("red", messages=({"role": "user", "content": content},), media=(picture, sound))
    [message] = Question(template="Q: {prompt}; A: {response}").messages(sample)
    before, shown, between, heard, after = message["content"]
    assert [before["text"], between["text"], after["text"]] == ["Q: See ", " and hear ", "; A: red"]
    head, data = shown["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert Image.open(BytesIO(base64.b64decode(data))).getpixel((0, 0)) == (200, 10, 10)
    with wave.open(BytesIO(base64.b64decode(heard["input_audio"]["data"]))) as file:
        assert (file.getframerate(), file.getnchannels()) == (16000, 1)
        assert np.frombuffer(file.readframes(4), "<i2") == pytest.approx([0, 16384, -32767, 32767], abs=1)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("I cannot say.", "no grade: 'I cannot say.'"),
        ("Grade: seven", "no grade"),
        ("Grade: 11", "11 is not within 0 to 10"),
        ("Grade: -1", "-1 is not within"),
    ],
)
def test_a_reply_without_a_usable_grade_is_that_samples_error(reply: str, says: str) -> None:
    with pytest.raises(NoGrade, match=says):
        Question().score(reply)
    with (
        chat_server(lambda body: graded(reply if "odd" in asked(body) else "Grade: 10")) as (url, seen),
        LLMJudge([url], model="m") as judge,
    ):
        odd, fine = judged(judge, "odd", "fine")
    assert odd.score is None
    assert odd.error.startswith("judge: row, sample odd: its")
    assert fine.score == 1.0
    assert len(seen) == 2


def test_the_grade_is_read_as_it_was_asked_for() -> None:
    question = Question(template="{response}", grade=r"<score>(\d)</score>", lowest=1, highest=5)
    assert question.score("<score>2</score> or <score>4</score>") == 0.75
    with pytest.raises(NoGrade, match="'yes' is no number"):
        Question(grade=r"\b(yes|no)\b").score("yes")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"template": "{prompt}"}, "must hold {response}"),
        ({"grade": "("}, "no regular expression"),
        ({"grade": "Grade"}, "one group"),
        ({"lowest": 3, "highest": 3}, "below the highest"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(RewardSetupError, match=says):
        Question(**settings)


@pytest.mark.parametrize("trouble", [500, 503, 429, "nonsense", "date"])
def test_an_endpoint_in_trouble_is_asked_again(trouble: int | str) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if len(seen) > 2:
            return graded("Grade: 5")
        if trouble == "nonsense":
            return 200, b"<html>", {}
        if trouble == "date":
            return 503, {}, {"retry-after": formatdate(time.time() + 0.4, usegmt=True)}
        return int(trouble), {"error": {"message": "slow down"}}, {"retry-after": "0.05"} if trouble == 429 else {}

    with chat_server(answer) as (url, seen), LLMJudge([url], model="m", timeout=20) as judge:
        [outcome] = judged(judge, "a")
    assert (outcome.score, len(seen)) == (0.5, 3)


def test_retry_after_is_waited_for() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        times.append(time.monotonic())
        return graded("Grade: 5") if len(times) > 1 else (429, {}, {"retry-after": "0.6"})

    times: list[float] = []
    with chat_server(answer) as (url, _), LLMJudge([url], model="m") as judge:
        assert judged(judge, "a")[0].score == 0.5
    assert times[1] - times[0] > 0.4


def test_trouble_that_lasts_is_an_error_and_patience_has_its_end() -> None:
    with chat_server(lambda body: (500, {"detail": "broken"}, {})) as (url, seen):
        with LLMJudge([url], model="m", retries=1) as judge:
            [outcome] = judged(judge, "a")
        assert outcome.error == "judge: row, sample a: 2 endpoints in a row failed; the last: HTTP 500: broken"
        assert len(seen) == 2
    with (
        chat_server(lambda body: (429, {}, {"retry-after": "30"})) as (url, _),
        LLMJudge([url], model="m", timeout=0.2) as judge,
    ):
        assert judged(judge, "a", "b") == [Outcome(timed_out=True)] * 2


@pytest.mark.parametrize("how", ["silent", "dripping"])
def test_a_reply_that_does_not_come_in_time_is_a_time_out(how: str) -> None:
    def answer(body: dict[str, Any]) -> Answer | bytes:
        if how == "dripping":
            return b" " * 4000
        time.sleep(60)
        return graded("Grade: 5")

    with chat_server(answer) as (url, _), LLMJudge([url], model="m", timeout=0.5) as judge:
        began = time.monotonic()
        assert judged(judge, "a") == [Outcome(timed_out=True)]
        assert time.monotonic() - began < 50, "the reply would take longer"


def test_a_dead_endpoint_costs_nothing_while_another_lives() -> None:
    dead = "http://127.0.0.1:1"
    with chat_server(lambda body: graded("Grade: 5")) as (url, seen):
        with LLMJudge([dead, url, f"{url}/v1"], model="m", concurrency=4) as judge:
            assert [outcome.score for outcome in judged(judge, *"abcdefghijkl")] == [0.5] * 12
        assert len(seen) == 12
    with LLMJudge([dead], model="m", retries=0) as judge:
        assert "ConnectError" in judged(judge, "a")[0].error


def test_requests_are_at_once_but_no_more_than_allowed() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        with changed:
            busy.append(busy[-1] + 1)
            changed.notify_all()
            assert changed.wait_for(lambda: max(busy) >= 3, 60)
        time.sleep(0.1)
        with changed:
            busy.append(busy[-1] - 1)
        return graded("Grade: 5")

    changed, busy = threading.Condition(), [0]
    with chat_server(answer) as (url, _), LLMJudge([url], model="m", concurrency=3) as judge:
        judged(judge, *"abcdefgh")
    assert max(busy) == 3


def test_the_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    caplog.set_level(logging.DEBUG)
    quoting = {"error": {"message": f"Incorrect key {KEY}"}}
    for code, retries in ((401, 8), (400, 8), (500, 1)):
        with (
            chat_server(lambda body, code=code: (code, quoting, {})) as (url, seen),
            LLMJudge([url], model="m", key_env="JUDGE_KEY", retries=retries) as judge,
        ):
            outcomes = judged(judge, "a", "b")
            told = [outcome.error for outcome in outcomes]
            told += [repr(judge), str(vars(judge._rotation.endpoints[0])), judge.fingerprint()]
            told += [judge.describe(Sample("a")), judge._rotation.troubles(), repr(judge._client.headers)]
        assert all(body["authorization"] == f"Bearer {KEY}" for body in seen)
        assert all(outcome.error and "Incorrect key ***" in outcome.error for outcome in outcomes)
        assert KEY not in " ".join(told)
    assert KEY not in caplog.text
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(RewardSetupError, match="JUDGE_KEY, which should hold a service's key, is not set"):
        LLMJudge(["http://127.0.0.1:1"], model="m", key_env="JUDGE_KEY")
    monkeypatch.setenv("JUDGE_KEY", "sk-\nx")
    with pytest.raises(RewardSetupError, match="letters that no key has") as refusal:
        LLMJudge(["http://127.0.0.1:1"], model="m", key_env="JUDGE_KEY")
    assert "sk-" not in str(refusal.value)


def test_what_the_llm_wrote_is_a_note_even_without_a_grade_and_never_shows_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    padding = "b" * (LIMIT - len(KEY) // 2)
    replies = {"a": f"well, {KEY}. Grade: 7", "c": f"{padding}{KEY} Grade: 7", "d": "I cannot say \ud800"}

    def answer(body: dict[str, Any]) -> Answer:
        return graded(next(text for response, text in replies.items() if f"[{response}]" in str(body["messages"])))

    question = Question("[{response}]")
    with (
        chat_server(answer) as (url, _),
        LLMJudge([url], model="m", name="llm", question=question, key_env="JUDGE_KEY") as judge,
    ):
        graded_one, cut, silent = judged(judge, "a", "c", "d")
    assert (graded_one.score, graded_one.notes) == (0.7, {"llm": "well, ***. Grade: 7"})
    assert len(cut.notes["llm"]) == LIMIT
    assert KEY[: len(KEY) // 2] not in cut.notes["llm"]
    assert silent.score is None
    assert silent.error
    assert silent.notes == {"llm": "I cannot say ?"}


def test_a_reply_that_is_cut_off_before_it_begins_says_what_to_raise() -> None:
    empty = (200, {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}, {})
    with chat_server(lambda body: empty) as (url, _), LLMJudge([url], model="m") as judge:
        assert judged(judge, "a")[0].error.endswith("it said nothing: its reply was cut off; raise max_tokens")


def test_every_sample_has_one_outcome_whatever_the_endpoint_does() -> None:
    chance = random.Random(7)

    def answer(body: dict[str, Any]) -> Answer | bytes:
        ways: list[Answer] = [graded("Grade: 5")] * 4 + [graded("?"), (500, {}, {}), (429, {}, {"retry-after": "0.01"})]
        ways += [(200, [], {}), (400, {}, {}), (200, {"choices": []}, {})]
        return chance.choice(ways)

    with chat_server(answer) as (url, _), LLMJudge([url, f"{url}/v1/"], model="m", timeout=20, concurrency=8) as judge:
        outcomes = judge.score([[Sample(str(n)) for n in range(20)]] * 3)
    assert [len(call) for call in outcomes] == [20] * 3
    kinds = [(o.score is not None, bool(o.error), o.timed_out) for call in outcomes for o in call]
    assert all(sum(kind) == 1 for kind in kinds)
    assert kinds.count((True, False, False)) > 10


def test_the_fingerprint_is_of_all_that_decides_a_grade() -> None:
    base = {"urls": ["http://h:1"], "model": "m"}
    others = [{"model": "n"}, {"urls": ["http://h:2"]}, {"temperature": 1.0}, {"max_tokens": 7}, {"name": "x"}]
    others += [{"question": Question(system="Be mild.")}, {"extra_body": {"seed": 1}}, {}]
    prints = [LLMJudge(**{**base, **more}).fingerprint() for more in others]
    assert len(set(prints)) == len(others)
    assert LLMJudge(["http://h:1/v1/"], model="m", timeout=3).fingerprint() == prints[-1]


def test_settings_that_cannot_be_are_refused_and_a_closed_judge_says_so() -> None:
    with pytest.raises(RewardSetupError, match="needs a model and a URL"):
        LLMJudge([], model="m")
    with pytest.raises(RewardSetupError, match="holds a password"):
        LLMJudge(["http://me:secret@h:1"], model="m")
    with pytest.raises(ValueError, match="must be above 0"):
        LLMJudge(["http://h:1"], model="m", timeout=0)
    judge = LLMJudge(["http://h:1"], model="m")
    judge.close()
    judge.close()
    with pytest.raises(RuntimeError, match="closed"):
        judge.score([[Sample("a")]])
