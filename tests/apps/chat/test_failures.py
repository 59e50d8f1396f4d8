"""What fails in a chat is said in a line, and leaves what was said before it as it was."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import pytest
import torch
from rich.console import Console
from starlette.testclient import TestClient
from tests.apps.chat.stand_ins import Echo, LabelIsIn, quiet

from lightrft_apps.chatting.commands import run_command
from lightrft_apps.chatting.conversation import Attachment, ChatError, Conversation, Exchange
from lightrft_apps.chatting.local import LocalSpeaker
from lightrft_apps.chatting.manner import Manner
from lightrft_apps.chatting.saved import from_json, to_json
from lightrft_apps.chatting.session import Session
from lightrft_apps.chatting.terminal import Terminal, history_file
from lightrft_apps.chatting.web.app import build_app
from lightrft_apps.config.chat import DrawnArgs
from lightrft_core import Group, Prompt, Rollout, SamplingParams, Verdict
from lightrft_strategy.engines.backend import EngineDied, EngineTimeout


class Moody(Echo):
    """Fails at what stands in `mood`, and calls `seen` while it answers."""

    mood: BaseException | None = None
    seen: Callable[[], None] = staticmethod(lambda: None)

    def answer(
        self, prompt: Prompt, law: SamplingParams, *, seed: int, step: int, hear: Callable[[str], None]
    ) -> Rollout:
        self.seen()
        if self.mood is not None:
            raise self.mood
        return super().answer(prompt, law, seed=seed, step=step, hear=hear)


class MoodyJudge(LabelIsIn):
    mood: Exception | None = None

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        if self.mood is not None:
            raise self.mood
        return super().score(groups, step=step)


@pytest.mark.parametrize("mood", [KeyError("a bug"), KeyboardInterrupt(), ChatError("no")])
def test_whatever_fails_the_last_exchange_stays(mood: BaseException) -> None:
    speaker, judge = Moody("A"), MoodyJudge()
    session = Session([speaker], DrawnArgs(), judge)
    session.ask("one", quiet)
    kept = session.conversation
    judge.mood = KeyError("a bug of a judge")
    with pytest.raises(KeyError):
        session.label("A")
    assert session.conversation == kept
    judge.mood, speaker.mood = None, mood
    if isinstance(mood, KeyboardInterrupt):
        assert session.retry(quiet).answers[0].finish_reason == "interrupted"
        return
    with pytest.raises(type(mood)):
        session.retry(quiet)
    assert session.conversation == kept
    speaker.mood = None
    assert session.retry(quiet).answers[0].text == "A heard 1, try 1", "a try that failed is none"


def test_while_a_question_is_answered_anew_what_was_said_can_be_read() -> None:
    speaker = Moody("A")
    session = Session([speaker], DrawnArgs())
    session.attach(Attachment("image", "dot.png", b"\x89PNG"))
    session.ask("one", quiet)
    app, room = build_app(session, 100)
    lengths = []
    with TestClient(app) as client:
        speaker.seen = lambda: lengths.append(
            (client.get("/media/0/0").status_code, len(client.get("/state").json()["exchanges"]))
        )
        session.retry(quiet)
    room.close()
    assert lengths == [(200, 1)]


def test_a_judge_that_fails_leaves_the_answer_and_is_named() -> None:
    judge = MoodyJudge()
    session = Session([Echo("A")], DrawnArgs(), judge)
    judge.mood = RuntimeError("the worker is gone")
    exchange = session.ask("one", quiet)
    assert exchange.answers[0].text == "A heard 1, try 0"
    assert exchange.answers[0].verdict == Verdict(None, error="RuntimeError: the worker is gone")
    assert session.conversation.exchanges == (exchange,)
    judge.mood = None
    verdict = session.label("A").answers[0].verdict
    assert verdict is not None and verdict.score == 1.0


class Engine:
    """Fails as it is told to."""

    seed = 0

    def __init__(self, error: Exception) -> None:
        self.error = error

    def decode(self, rows: list[list[int]]) -> list[str]:
        return ["" for _ in rows]

    def generate(self, prompts: Sequence[Prompt], law: SamplingParams, *, step: int) -> list[Group]:
        raise self.error


def local(engine: Any = None, encoder: Any = None, tokenizer: Any = None, *, templated: bool = True) -> LocalSpeaker:
    senses: Any = SimpleNamespace(encoder=encoder, tokenizer=tokenizer)
    return LocalSpeaker("A", engine, senses, Manner(templated), longest=100, positions=None)


class Encoder:
    modalities = ("image",)

    def __init__(self) -> None:
        self.reads = 0
        self.held = WeakSet[Medium]()

    def read(self, part: Any, *, root: Path | None, urls: bool) -> Any:
        self.reads += 1
        medium = Medium(part["image"])
        self.held.add(medium)
        return medium

    def encode(self, messages: Any, media: Any) -> tuple[str, tuple[int, ...]]:
        return "", (1,)


class Medium:
    modality, sha256 = "image", "0"

    def __init__(self, content: bytes) -> None:
        self.content = content


@pytest.mark.parametrize(
    "error",
    [
        EngineDied("the engine ended"),
        EngineTimeout("no answer in 600 s"),
        torch.OutOfMemoryError("out of memory"),
        ValueError("a bias of token 999999, which the model has not"),
    ],
)
def test_an_engine_that_fails_does_not_end_the_chat(error: Exception, tmp_path: Path) -> None:
    session = Session([local(Engine(error), Encoder())], DrawnArgs())
    shown, lines = StringIO(), iter(["hello", f"/save {tmp_path / 'chat.json'}", "/quit"])
    Terminal(session, Console(file=shown, width=200)).run(lambda: next(lines))
    assert f"! A could not answer: {type(error).__name__}: {error}" in shown.getvalue()
    assert (tmp_path / "chat.json").exists()


def test_a_medium_is_read_once_and_forgotten_with_its_conversation() -> None:
    encoder = Encoder()
    speaker = local(encoder=encoder)
    for content in (b"one", b"two"):
        attachment = Attachment("image", "x.png", content)
        conversation = Conversation((), (Exchange("see", (attachment,)),))
        for _ in range(3):
            speaker.prompt(conversation, 0)
    assert encoder.reads == 2
    gc.collect()
    assert [medium.content for medium in encoder.held] == [b"two"]


def test_a_conversation_without_a_template_begins_as_the_tokenizer_begins_texts() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"<s>": 0, "a": 1, "b": 2, "?": 3}, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", unk_token="?")
    tokenizer.chat_template = "<s>{% for message in messages %}{{ message['content'] }}{% endfor %}"
    asked = Conversation((), (Exchange("a b"),))
    assert local(tokenizer=tokenizer, templated=False).prompt(asked, 0).token_ids == (0, 1, 2)
    assert local(tokenizer=tokenizer).prompt(asked, 0).token_ids == (0, 1, 2), "the template wrote its own"


def test_a_home_that_cannot_be_written_costs_the_history_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken/lightrft/chat_history").mkdir(parents=True)
    for home in ("file", "taken"):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / home))
        assert history_file() is None
        assert "what you type is not kept" in capsys.readouterr().err
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "fine"))
    assert history_file() == tmp_path / "fine/lightrft/chat_history"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tokens", "3"),
        ("tokens", True),
        ("tokens", -1),
        ("seconds", "x"),
        ("seconds", None),
        ("seconds", 10**400),
        ("text", 3),
        ("finish_reason", []),
        ("verdict", "good"),
        ("verdict.score", "x"),
        ("verdict.score", [1]),
        ("verdict.parts", {"number": "x"}),
        ("verdict.parts", [1]),
        ("verdict.notes", {"judge": 3}),
        ("verdict.notes", "x"),
        ("verdict.error", None),
        ("verdict.timed_out", "x"),
        ("verdict.steps", [[1, "x"]]),
        ("verdict.steps", [3]),
    ],
)
def test_a_chat_whose_numbers_are_none_is_refused_and_the_page_goes_on(path: str, value: Any) -> None:
    session = Session([Echo("A")], DrawnArgs(), LabelIsIn())
    session.ask("one", quiet, label="A")
    content = to_json(session.conversation, ["A"], {})
    assert from_json(json.loads(json.dumps(content)), 1).exchanges == session.conversation.exchanges
    entry = content["exchanges"][0]["answers"][0]
    *within, name = path.split(".")
    (entry["verdict"] if within else entry)[name] = value
    app, room = build_app(session, 1 << 20)
    with TestClient(app, raise_server_exceptions=False) as client:
        refused = client.post("/load", content=json.dumps(content))
        assert refused.status_code == 422 and "no chat as /save writes it" in refused.json()["error"]
        assert client.get("/state").json()["exchanges"][0]["text"] == "one"
    room.close()


def test_each_is_told_his_own_system_message_until_another_is_set(tmp_path: Path) -> None:
    first, second = Echo("A"), Echo("B")
    session = Session([first, second], DrawnArgs(), systems=[None, "count"])
    session.ask("one", quiet)
    told = [[(m.role, m.content) for m in speaker.asked[-1][0].messages] for speaker in (first, second)]
    assert told == [[("user", "one")], [("system", "count"), ("user", "one")]]
    assert run_command(session, "/system", quiet).text == "system of A: (none)\nsystem of B: count"
    run_command(session, f"/save {tmp_path / 'chat.json'}", quiet)
    assert json.loads((tmp_path / "chat.json").read_text())["messages"][0]["role"] == "user"
    run_command(session, "/system be kind", quiet)
    assert session.conversation.systems == ("be kind", "be kind")
    run_command(session, f"/load {tmp_path / 'chat.json'}", quiet)
    assert session.conversation.systems == (None, "count")
    run_command(session, "/reset", quiet)
    assert session.conversation.systems == (None, "count")
    run_command(session, "/system null", quiet)
    assert run_command(session, "/system", quiet).text == "there is no system message"
