"""Proofs with a real model: SmolLM2 in a terminal, and through vLLM, an answer of which is stopped."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import FrameType

import pytest
from rich.console import Console
from tests.apps.chat.a_terminal import ATerminal

from lightrft_apps.chatting import open_session
from lightrft_apps.config.chat_command import ChatCommand
from lightrft_apps.config.flat import from_flat

pytestmark = pytest.mark.proof


def test_smollm2_talks_in_a_terminal_and_a_rule_says_whether_it_is_right(tmp_path: Path) -> None:
    words = ("--pretrain", "smollm2", "--temperature", "0", "--generate_max_len", "60", "--rule_reward", "number")
    with ATerminal("chat", *words, XDG_STATE_HOME=str(tmp_path)) as terminal:
        terminal.until(lambda shown: "/help" in shown and "\n>" in shown, 300)
        terminal.type("What is the capital of France?\r")
        lengths = set()
        while "tokens/s" not in terminal.shown:
            terminal.until(lambda shown: len(shown) not in lengths, 120)
            lengths.add(len(terminal.shown))
        assert "Paris" in terminal.shown and len(lengths) > 5, "words appear one after another"
        terminal.type("/reset\rWhat is 2+3? Answer with a number.\r")
        terminal.until(lambda shown: shown.count("tokens/s") == 2, 120)
        terminal.type("/label 5\r")
        terminal.until(lambda shown: "reward 1   number 1" in shown, 120)


@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
def test_vllm_answers_as_the_embedded_engine_does_and_goes_on_after_an_answer_that_was_stopped() -> None:
    flags = {"pretrain": "smollm2", "temperature": 0.0, "generate_max_len": 12, "prompt_max_len": 256}
    said = {}
    for engine in ({}, {"engine_type": "vllm", "enforce_eager": True}):
        with open_session(from_flat(ChatCommand, flags | engine), Console(file=StringIO())) as session:
            said[len(engine)] = [
                session.ask(text, lambda place, piece: None).answers[0].text for text in ("Hi!", "Why?")
            ]
            if engine:
                _interrupt_after(2.0)
                session.draw = from_flat(
                    ChatCommand, flags | {"generate_max_len": 400, "generate_min_len": 400}
                ).answers
                assert session.ask("Tell me all.", lambda place, piece: None).answers[0].finish_reason == "interrupted"
                session.draw = from_flat(ChatCommand, flags).answers
                session.reset()
                assert session.ask("Hi!", lambda place, piece: None).answers[0].text == said[len(engine)][0]
    assert said[0] == said[2]


def _interrupt_after(seconds: float) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
