"""A chat under way: who knows what of it, what is judged, and what a file of it holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.apps.chat.stand_ins import Echo, LabelIsIn, quiet

from lightrft_apps.chatting.commands import End, run_command
from lightrft_apps.chatting.conversation import Attachment, ChatError, Conversation
from lightrft_apps.chatting.saved import from_json, read_chat, to_json, write_chat
from lightrft_apps.chatting.session import Session
from lightrft_apps.chatting.speaker import Stopped
from lightrft_apps.config.chat import DrawnArgs
from lightrft_core import SamplingParams


def test_each_speaker_hears_his_own_answers_alone() -> None:
    first, second = Echo("A"), Echo("B")
    session = Session([first, second], DrawnArgs(), systems=["be kind", "be kind"])
    for question in ("one", "two"):
        session.ask(question, quiet)
    for speaker in (first, second):
        messages = [(message.role, message.content) for message in speaker.asked[-1][0].messages]
        assert messages == [
            ("system", "be kind"),
            ("user", "one"),
            ("assistant", f"{speaker.name} heard 2, try 0"),
            ("user", "two"),
        ]
    assert first.asked[-1][2:] == second.asked[-1][2:] == (42, 1), "the same randomness for both"


def test_retry_draws_anew_and_undo_takes_back_one_question() -> None:
    session = Session([Echo("A")], DrawnArgs())
    session.ask("one", quiet)
    assert [session.retry(quiet).answers[0].text for _ in range(2)] == ["A heard 1, try 1", "A heard 1, try 2"]
    session.ask("two", quiet)
    assert session.undo().text == "two"
    assert [exchange.text for exchange in session.conversation.exchanges] == ["one"]
    assert session.ask("three", quiet).answers[0].text == "A heard 3, try 0"


def test_a_question_that_cannot_be_read_leaves_the_chat_as_it_was() -> None:
    session = Session([Echo("A")], DrawnArgs())
    session.ask("one", quiet)
    before = session.conversation
    with pytest.raises(ChatError, match="cannot read this"):
        session.ask("unreadable", quiet)
    assert session.conversation == before


def test_an_answer_that_is_stopped_stays_as_far_as_it_was_heard_and_is_not_judged() -> None:
    judge = LabelIsIn()
    session = Session([Echo("A"), Echo("B")], DrawnArgs(), judge)
    heard: list[str] = []

    def enough(place: int, piece: str) -> None:
        heard.append(piece)
        if len(heard) == 2:
            raise Stopped

    exchange = session.ask("one", enough, label="heard")
    assert [(answer.text, answer.finish_reason) for answer in exchange.answers] == [
        ("Aheard", "interrupted"),
        ("", "interrupted"),
    ]
    assert [answer.verdict for answer in exchange.answers] == [None, None]
    assert not [rollout for group in judge.groups for rollout in group.rollouts]


def test_answers_to_the_same_are_judged_together_and_by_the_label_that_comes_later() -> None:
    judge = LabelIsIn()
    session = Session([Echo("A"), Echo("B")], DrawnArgs(), judge)
    exchange = session.ask("one", quiet)
    assert [answer.verdict.error for answer in exchange.answers if answer.verdict] == ["no label", "no label"]
    assert [len(group.rollouts) for group in judge.groups] == [2]
    exchange = session.label("B")
    assert [answer.verdict.score for answer in exchange.answers if answer.verdict] == [0.0, 1.0]
    assert session.conversation.exchanges == (exchange,)
    session.ask("two", quiet)
    assert [len(group.rollouts) for group in judge.groups[2:]] == [1, 1], "they no longer answer the same"


def test_a_chat_comes_back_from_its_file_with_its_pictures_and_verdicts(tmp_path: Path) -> None:
    session = Session([Echo("A"), Echo("B")], DrawnArgs(), LabelIsIn(), systems=["be kind \u202e\x1b", None])
    session.attach(Attachment("image", "dot.png", b"\x89PNG and more"))
    session.ask("what is it?", quiet, label="A")
    session.ask("and again?", quiet)
    path = tmp_path / "chat.json"
    run_command(session, f"/save '{path}'", quiet)
    kept = session.conversation
    again = Session([Echo("A"), Echo("B")], DrawnArgs())
    assert run_command(again, f"/load {path}", quiet).replayed
    assert again.conversation == kept
    saved = json.loads(path.read_text())
    assert saved["messages"][1]["content"][0]["image"].startswith("data:image/png;base64,iVBORyBhbmQ")
    assert saved["asked"] == ["A", "B"] and saved["settings"]["temperature"] == 0.7


def test_a_file_that_is_no_chat_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    for name, content in {
        "a.json": "{",
        "b.json": "[]",
        "c.json": '{"format": "other"}',
        "d.json": "[" * 100_000,
    }.items():
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(ChatError):
            read_chat(path, 1)
        with pytest.raises(ChatError, match="is there already"):
            write_chat(path, {"format": "lightrft-chat-1"})
        assert path.read_text() == content
    with pytest.raises(ChatError, match="cannot be read"):
        read_chat(tmp_path / "gone.json", 1)
    session = Session([Echo("A")], DrawnArgs())
    session.ask("one", quiet)
    content = to_json(session.conversation, ["A"], {})
    for key in ("format", "messages", "exchanges"):
        with pytest.raises(ChatError):
            from_json({name: value for name, value in content.items() if name != key}, 1)
    with pytest.raises(ChatError, match="1 answered each question, and 2 are asked now"):
        from_json(content, 2)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/temprature 1", "there is no command /temprature"),
        ("/set temprature 1", "did you mean temperature?"),
        ("/set temperature -1", "set it to 0 or more"),
        ("/set temperature warm", "expected a number"),
        ("/set top_p 2", "set it to a number above 0 and at most 1"),
        ("/set temperature", "write /set NAME VALUE"),
        ("/reset now", "/reset takes nothing after it"),
        ("/image", "write /image FILE"),
        ("/image /no/such/file.png", "cannot be read: No such file"),
        ("/retry", "nothing has been asked yet"),
        ("/undo", "nothing has been asked yet"),
        ("/label 3", "nothing judges answers"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(line: str, told: str) -> None:
    session = Session([Echo("A")], DrawnArgs())
    with pytest.raises(ChatError) as said:
        run_command(session, line, quiet)
    assert told in str(said.value)
    assert (session.draw, session.conversation) == (DrawnArgs(), Conversation())


@pytest.mark.parametrize(
    ("line", "stop"),
    [
        ('/set stop ["a=b"]', ("a=b",)),
        ('/set stop=["a=b", "c"]', ("a=b", "c")),
        ('/set stop = ["= d"]', ("= d",)),
        ("/set stop  x=1", ("x=1",)),
    ],
)
def test_a_value_may_hold_an_equals_sign(line: str, stop: tuple[str, ...]) -> None:
    speaker = Echo("A")
    session = Session([speaker], DrawnArgs())
    run_command(session, line, quiet)
    session.ask("one", quiet)
    assert speaker.asked[0][1].stop == stop


def test_settings_reach_the_next_answer() -> None:
    speaker = Echo("A")
    session = Session([speaker], DrawnArgs())
    for line in (
        "/set temperature=0",
        "/set top_k 5",
        "/set seed 7",
        '/set stop ["x", "y"]',
        "/set generate_max_len 9",
    ):
        run_command(session, line, quiet)
    session.ask("one", quiet)
    _, law, seed, _ = speaker.asked[0]
    assert law == replace(SamplingParams(), temperature=0.0, top_k=5, stop=("x", "y"), max_new_tokens=9)
    assert seed == 7
    assert "temperature = 0.0" in run_command(session, "/params", quiet).text
    assert "divides the logits" in run_command(session, "/help", quiet).text
    with pytest.raises(End):
        run_command(session, "/quit", quiet)
