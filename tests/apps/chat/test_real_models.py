"""Proofs with a real model: SmolLM2 in a terminal, and through vLLM, an answer of which is stopped."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import pytest
from rich.console import Console
from tests.apps.chat.a_terminal import ATerminal

from lightrft_apps.chatting import open_session
from lightrft_apps.chatting.speaker import Stopped
from lightrft_apps.config.chat import ChatCommand
from lightrft_apps.config.reading.flat import from_flat
from lightrft_apps.models.loading import model_folder
from lightrft_strategy.engines.server_process import ServerProcess, free_port

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
    said = {}
    for engine in ({}, {"engine_type": "vllm", "enforce_eager": True}):
        with open_session(from_flat(ChatCommand, FLAGS | engine), Console(file=StringIO())) as session:
            heard, hear = stopping(after=1000)
            said[len(engine)] = [session.ask(text, hear).answers[0].text for text in ("Hi!", "Why?")]
            assert "".join(heard) == "".join(said[len(engine)])
            assert len(heard) > 12, "words appear one after another"
            if engine:
                session.draw = from_flat(ChatCommand, FLAGS | LONG).answers
                _interrupt_after(2.0)
                assert session.ask("Tell me all.", lambda place, piece: None).answers[0].finish_reason == "interrupted"
                few, stop = stopping(after=5)
                assert session.ask("Tell me all.", stop).answers[0].finish_reason == "interrupted"
                assert len(few) == 5, "it was stopped at once, long before its 400 tokens"
                session.draw = from_flat(ChatCommand, FLAGS).answers
                session.reset()
                assert session.ask("Hi!", lambda place, piece: None).answers[0].text == said[len(engine)][0]
    assert said[0] == said[2]


@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
def test_the_answers_of_a_vllm_server_are_streamed_and_one_that_is_stopped_is_drawn_no_further() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    port, model = url.rpartition(":")[2], model_folder("smollm2")
    words = ["--model", model, "--served-model-name", "smollm2", "--dtype", "float32", "--port", port]
    limits = ["--max-model-len", "1024", "--enforce-eager"]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words, *limits]
    server = ServerProcess(command, {"VLLM_CPU_KVCACHE_SPACE": "1"}, f"{url}/health", "vLLM", 300)
    flags = {"remote": f"{url}/v1", "remote_model": "smollm2", "temperature": 0.0}
    try:
        server.start()
        with open_session(from_flat(ChatCommand, flags | LONG), Console(file=StringIO())) as session:
            few, stop = stopping(after=5)
            assert session.ask("Tell me all.", stop).answers[0].finish_reason == "interrupted"
            assert len(few) == 5
            _wait(lambda: running(url) == 0, 20)
            session.draw = from_flat(ChatCommand, flags | {"generate_max_len": 12}).answers
            session.reset()
            heard: list[str] = []
            answer = session.ask("What is the capital of France?", lambda place, piece: heard.append(piece)).answers[0]
            assert "Paris" in answer.text and "".join(heard) == answer.text
            assert len(heard) > 1, "a server that is busy sends several tokens at once, and never all"
    finally:
        server.stop()


FLAGS: dict[str, Any] = {"pretrain": "smollm2", "temperature": 0.0, "generate_max_len": 12, "prompt_max_len": 256}
LONG = {"generate_max_len": 400, "generate_min_len": 400}


def stopping(after: int) -> tuple[list[str], Callable[[int, str], None]]:
    """What was heard, and somebody who presses Stop after so many pieces."""
    heard: list[str] = []

    def hear(place: int, piece: str) -> None:
        heard.append(piece)
        if len(heard) == after:
            raise Stopped

    return heard, hear


def running(url: str) -> float:
    """Requests that a vLLM server is answering."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    return sum(float(value) for value in re.findall(r"^vllm:num_requests_running\{.*\} (\S+)$", text, re.MULTILINE))


def _wait(until: Callable[[], bool], seconds: float) -> None:
    patience = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < patience
        time.sleep(0.1)


def _interrupt_after(seconds: float) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
