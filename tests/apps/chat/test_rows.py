"""The file of answers: new, written as it comes, and kept whatever ends the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.apps.chat.an_endpoint import endpoint

from lightrft_apps.chatting import batch, chat
from lightrft_apps.chatting.rows import answers_in
from lightrft_apps.config import ConfigError
from lightrft_apps.config.chat import ChatCommand
from lightrft_apps.config.reading.flat import from_flat
from lightrft_core import FinishReason, Group, Message, Prompt, Rollout, Verdict


def answered(number: int) -> Group:
    prompt = Prompt(f"eval/{number}", (Message("user", "?"),), "?", ())
    return Group(prompt, [Rollout(0, [1], [0.0], [True], FinishReason.STOP, str(number))])


def texts(path: Path) -> list[str]:
    return [json.loads(line)["answer"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_answers_are_in_the_file_at_once_and_stay_there(
    tmp_path: Path, end: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.jsonl"
    with pytest.raises(end), answers_in(output) as answers:
        answers.add([answered(0), Group(answered(1).prompt, [], "too long")])
        assert len(output.read_text().splitlines()) == 2
        raise end
    assert json.loads(output.read_text().splitlines()[0])["answer"] == "0"
    assert f"ended early: 1 answers in {output}, 1 prompts without one" in capfd.readouterr().err
    with pytest.raises(ConfigError, match="nothing is overwritten"), answers_in(output):
        pass
    assert len(output.read_text().splitlines()) == 2


def test_no_file_is_left_where_nothing_was_answered(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), answers_in(tmp_path / "a.jsonl"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="cannot be written"), answers_in(tmp_path / "no/a.jsonl"):
        pass


def test_a_file_that_somebody_interrupts_keeps_what_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    judged: list[int] = []

    class Judge:
        def score(self, groups: list[Group], *, step: int) -> Any:
            judged.append(len(groups))
            if len(judged) == 2:
                raise KeyboardInterrupt
            return [[Verdict(1.0)] for _ in groups]

    monkeypatch.setattr(batch, "JUDGED_AT_ONCE", 3)
    monkeypatch.setattr(batch, "_judging", lambda command, media: batch.nullcontext(Judge()))
    (tmp_path / "prompts.txt").write_text("".join(f"{i}\n" for i in range(9)))
    with endpoint() as there:
        there.reply = "echo"
        flags = {"remote": there.url, "remote_model": "far", "input": str(tmp_path / "prompts.txt"), "progress": False}
        with pytest.raises(KeyboardInterrupt):
            chat(from_flat(ChatCommand, flags | {"output": str(tmp_path / "a.jsonl")}))
    assert texts(tmp_path / "a.jsonl") == ["<0>", "<1>", "<2>"]
    assert "ended early: 3 answers in" in capfd.readouterr().err
