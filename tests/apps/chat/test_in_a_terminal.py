"""A person in a terminal: answers appear as they are written, stop at Ctrl-C, and command nothing."""

from __future__ import annotations

import json
import termios
from pathlib import Path

import pytest
from tests.apps.chat.a_terminal import ATerminal
from tests.apps.chat.conftest import SAYS_HOSTILE, SAYS_WORDS


@pytest.fixture
def terminal(model: Path, tmp_path: Path) -> ATerminal:
    words = ("--temperature", "0", "--generate_max_len", "12", "--logit_bias", SAYS_WORDS)
    return ATerminal("chat", "--pretrain", str(model), *words, XDG_STATE_HOME=str(tmp_path / "state"))


def test_a_chat_from_the_first_question_to_the_last(terminal: ATerminal, tmp_path: Path) -> None:
    with terminal:
        terminal.prompted(lambda shown: "/help" in shown)
        terminal.type("hello\r")
        first = terminal.prompted(lambda shown: "12 tokens" in shown)
        terminal.type("/reset\r/system be another\r")
        terminal.prompted(lambda shown: "the system message is set" in shown)
        terminal.type("hello\r")
        terminal.prompted(lambda shown: shown.count("12 tokens") == 2)
        terminal.type(f"/save {tmp_path / 'chat.json'}\r")
        terminal.prompted(lambda shown: "saved in" in shown)

        terminal.type("/set generate_max_len 30000\r")
        terminal.prompted(lambda shown: "= 30000" in shown)
        terminal.type("go on\r")
        terminal.until(lambda shown: len(shown.partition("> go on\n")[2]) > 1000)
        pieces = [terminal.read() for _ in range(3)]
        terminal.type("\x03")
        stopped = terminal.prompted(lambda shown: ", stopped" in shown)
        assert all(len(piece) < 30000 for piece in pieces), "the answer is written piece by piece, not at its end"
        assert "30000 tokens" not in stopped

        terminal.type(f"/set logit_bias {SAYS_HOSTILE}\r/set generate_max_len 3\rand now\r")
        hostile = terminal.prompted(lambda shown: "\n3 tokens" in shown)
        assert "\u241b]0;owned\u2407\u241b[2J\u241b[31m<U+009B>5A\u240d<img" in hostile.replace("\n", "")
        assert terminal.screen.title != "owned" and b"\x1b[2J" not in terminal.raw
        assert "\x9b" not in terminal.raw.decode() and "\u202e" not in terminal.raw.decode()
        assert "hello" in hostile, "nothing has been wiped off the screen"

        terminal.type("\x04")
        assert terminal.ended() == 0

    saved = json.loads((tmp_path / "chat.json").read_text())
    assert [message["role"] for message in saved["messages"]] == ["system", "user", "assistant"]
    assert saved["messages"][0]["content"] == "be another"
    said = saved["messages"][2]["content"]
    assert " ".join(said.split()) in " ".join(stopped.split())
    assert said not in first, "the system message reaches the model"
    history = tmp_path / "state" / "lightrft" / "chat_history"
    assert "+hello" in history.read_text() and history.stat().st_mode & 0o077 == 0


def test_keys_pressed_while_an_answer_is_written_wait_for_the_prompt_ctrl_d_among_them(
    terminal: ATerminal, tmp_path: Path
) -> None:
    before = termios.tcgetattr(terminal.slave)
    with terminal:
        terminal.prompted()
        terminal.type("/set generate_max_len 1000\r")
        terminal.prompted(lambda shown: "= 1000" in shown)
        terminal.type("go on\r")
        begun = terminal.until(lambda shown: len(shown.partition("> go on\n")[2]) > 100)
        assert "1000 tokens" not in begun
        terminal.type(f"/save {tmp_path / 'chat.json'}\r\x04")
        assert terminal.ended() == 0
        assert "1000 tokens" in terminal.shown
        assert termios.tcgetattr(terminal.slave) == before, "the terminal is left as it was found"
    assert (tmp_path / "chat.json").exists()
