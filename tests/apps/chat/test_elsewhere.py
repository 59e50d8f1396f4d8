"""Models elsewhere: streamed from an endpoint, asked with the whole conversation, and their troubles named."""

from __future__ import annotations

import json
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from starlette.testclient import TestClient
from tests.apps.chat.an_endpoint import KEY, Endpoint, endpoint

from lightrft_apps import chatting
from lightrft_apps.chatting import chat, open_session
from lightrft_apps.chatting.commands import run_command
from lightrft_apps.chatting.conversation import ChatError
from lightrft_apps.chatting.manner import Manner
from lightrft_apps.chatting.speaker import Stopped
from lightrft_apps.chatting.web.app import Chatroom, build_app
from lightrft_apps.chatting.wire import Wire
from lightrft_apps.config.chat import ChatCommand
from lightrft_apps.config.reading.flat import from_flat


@pytest.fixture
def there() -> Iterator[Endpoint]:
    with endpoint() as here:
        yield here


@pytest.fixture
def talk(there: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("KEY_OF_TESTS", KEY)

    def start(**flags: Any) -> Any:
        of = {"remote": there.url, "remote_model": "far", "remote_key_env": "KEY_OF_TESTS", "remote_timeout": 120.0}
        return open_session(from_flat(ChatCommand, of | flags), Console(file=StringIO()))

    return start


def test_an_endpoint_answers_piece_by_piece_and_knows_the_conversation(
    talk: Any, there: Endpoint, tmp_path: Path
) -> None:
    heard: list[str] = []
    with talk(system_prompt="be brief", top_k=3, stop="END", seed=1, input_template="Q: {}") as session:
        exchange = session.ask("2+3?", lambda place, piece: heard.append(piece))
        assert heard == ["It ", "is ", "5", "."]
        answer = exchange.answers[0]
        assert (answer.text, answer.finish_reason, answer.tokens) == ("It is 5.", "stop", 4)
        there.reply = "long"
        Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
        run_command(session, f"/image {tmp_path / 'red.png'}", lambda place, piece: None)
        assert session.ask("sure?", lambda place, piece: None).answers[0].finish_reason == "length"
    path, headers, body = there.requests[1]
    assert path == "/v1/chat/completions" and headers["authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["stream"], body["top_k"], body["stop"]) == ("far", True, 3, ["END"])
    assert body["temperature"] == 0.7 and "logit_bias" not in body
    *before, last = body["messages"]
    assert [(message["role"], message["content"]) for message in before] == [
        ("system", "be brief"),
        ("user", "Q: 2+3?"),
        ("assistant", "It is 5."),
    ]
    text, picture, question = last["content"]
    assert (text["text"], question["text"]) == ("Q: ", "sure?")
    encoded = picture["image_url"]["url"].removeprefix("data:image/png;base64,")
    assert b64decode(encoded) == (tmp_path / "red.png").read_bytes()


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("401", "HTTP 401: no, not with Bearer ***; set --remote_key_env"),
        ("429", "HTTP 429"),
        ("500", "HTTP 500"),
        ("broken", "broke off before its end"),
        ("nonsense", "no stream of chat completions"),
        ("error", "out of memory"),
        ("one endless line", "its answer is too long"),
        ("refused at length", "HTTP 400"),
    ],
)
def test_what_goes_wrong_elsewhere_is_named_without_the_key(talk: Any, there: Endpoint, reply: str, told: str) -> None:
    there.reply = reply
    with talk() as session:
        with pytest.raises(ChatError) as said:
            session.ask("2+3?", lambda place, piece: None)
        assert told in str(said.value) and there.url in str(said.value)
        assert KEY not in str(said.value)
        there.reply = "words"
        assert session.ask("2+3?", lambda place, piece: None).answers[0].text == "It is 5.", "the chat goes on"


def test_nobody_there_is_said_so(talk: Any) -> None:
    with (
        talk(remote="http://127.0.0.1:9") as session,
        pytest.raises(ChatError, match=r"far at http://127\.0\.0\.1:9: Conn"),
    ):
        session.ask("2+3?", lambda place, piece: None)


def test_an_answer_from_elsewhere_can_be_stopped(talk: Any) -> None:
    def enough(place: int, piece: str) -> None:
        if piece == "is ":
            raise Stopped

    with talk() as session:
        answer = session.ask("2+3?", enough).answers[0]
        assert (answer.text, answer.finish_reason) == ("It is ", "interrupted")


@pytest.mark.parametrize(("reply", "heard"), [("silent", ""), ("silent later", "It is 5.")])
def test_the_wait_for_a_silent_endpoint_is_ended_from_another_thread(
    talk: Any, there: Endpoint, reply: str, heard: str
) -> None:
    there.reply = reply
    with talk() as session:
        room, said = Chatroom(session), list[str]()

        def stop_it() -> None:
            while not there.requests or "".join(said) != heard:
                time.sleep(0.01)
            time.sleep(0.1)
            room.stop()

        stopping = threading.Thread(target=stop_it)
        stopping.start()
        start = time.monotonic()
        answer = session.ask("2+3?", lambda place, piece: said.append(piece)).answers[0]
        stopping.join()
        assert time.monotonic() - start < 60, "it would be silent for longer"
        assert (answer.text, answer.finish_reason) == (heard, "interrupted")
        there.reply = "words"
        assert session.ask("2+3?", lambda place, piece: None).answers[0].text == "It is 5.", "the chat goes on"
        room.close()


def test_a_wire_that_is_cut_before_it_is_connected_is_cut_then() -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(60)
    with ours, theirs:
        wire = Wire()
        wire.cut()
        stream = SimpleNamespace(get_extra_info=lambda name: ours)
        wire.trace("connection.connect_tcp.complete", {"return_value": stream})
        assert theirs.recv(1) == b""


def test_the_page_stops_an_answer_that_does_not_come(talk: Any, there: Endpoint) -> None:
    there.reply = "silent"
    with talk() as session:
        app, room = build_app(session, 100)
        with TestClient(app) as client, ThreadPoolExecutor(1) as thread:
            asked = thread.submit(client.post, "/ask", json={"text": "2+3?"})
            while not there.requests:
                time.sleep(0.01)
            assert client.post("/stop").status_code == 200
            assert "exchange" in asked.result(60).text
        assert session.conversation.exchanges[0].answers[0].finish_reason == "interrupted"
        room.close()


def test_the_run_beside_an_endpoint_has_its_system_prompt_for_itself(
    talk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def loaded(command: ChatCommand, *rest: Any, **more: Any) -> Iterator[Any]:
        system = command.talk.system_prompt or "of the run"
        yield SimpleNamespace(name="near", modalities=(), manner=Manner(True, system))

    monkeypatch.setattr(chatting, "find_model", lambda *words: None)
    monkeypatch.setattr(chatting, "load_speaker", loaded)
    with talk(side_by_side="run") as session:
        assert session.conversation.systems == (None, "of the run")
    with talk(side_by_side="run", system_prompt="given") as session:
        assert session.conversation.systems == ("given", "given")


def test_a_file_is_answered_from_elsewhere_in_its_order(
    there: Endpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there.reply = "echo"
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {i}\n" for i in range(30)))
    flags = {"remote": there.url, "remote_model": "far", "input": str(tmp_path / "prompts.txt"), "progress": False}
    chat(from_flat(ChatCommand, flags | {"output": str(tmp_path / "answers.jsonl"), "system_prompt": "go"}))
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == [f"<prompt {i}>" for i in range(30)]
    assert rows[3]["messages"] == [{"role": "system", "content": "go"}, {"role": "user", "content": "prompt 3"}]
    assert "30 answers" in capfd.readouterr().err
