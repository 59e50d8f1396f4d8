"""What a person sees of a running run where there is no terminal: plain lines on stderr."""

from __future__ import annotations

import pytest

from lightrft_apps.recording.progress import Progress

STEP = {
    "reward/mean": 0.51,
    "rollout/length_mean": 12.34,
    "group/zero_signal_share": 0.25,
    "time/tokens_per_second": 812.6,
    "time/bandwidth_utilisation": 0.31,
    "rollout/bubble_ratio": 0.42,
    "time/step": 3.21,
    "time/sample": 2.0,
    "time/judge": 0.01,
    "time/optimise": 1.1,
}


@pytest.fixture
def progress() -> Progress:
    return Progress(num_steps=20, done=0, answers=8, live=True)


def test_a_step_is_one_line_with_its_slow_phases(progress: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    with progress:
        progress.phase("sample", 7)
        progress.advance(3)
        progress.step(7, STEP)
    line = (
        "step    7  reward 0.510  length 12.3  no signal 25%  813 tokens/s (bandwidth 31%, bubble 42%)  "
        "3.2 s (sample 2.0, optimise 1.1)"
    )
    assert capsys.readouterr() == ("", line + "\n")


def test_a_step_is_one_line_however_narrow_the_window(
    progress: Progress, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    progress.step(7, STEP | {"eval/accuracy": 0.5})
    progress.say("a sentence of more than twenty columns")
    progress.warn("a sentence of more than twenty columns")
    assert capsys.readouterr().err.count("\n") == 3


def test_an_evaluation_is_told_with_its_accuracy(progress: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    progress.step(0, {"eval/accuracy": 0.1234, "time/step": 1.5, "time/evaluate": 1.5})
    shown = capsys.readouterr().err
    assert shown.startswith("step    0  held-out accuracy 12.3%  1.5 s (evaluat")
    assert "reward" not in shown


def test_a_step_without_a_slow_phase_lists_none(progress: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    progress.step(0, {"eval/accuracy": 0.5, "time/step": 0.01})
    assert capsys.readouterr().err == "step    0  held-out accuracy 50.0%  0.0 s\n"


def test_words_in_brackets_are_shown_not_obeyed(progress: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("file [bold]a[/bold].jsonl [/oops]")
    progress.warn("answer [red]42[/red] [/oops]")
    assert capsys.readouterr().err.splitlines() == [
        "file [bold]a[/bold].jsonl [/oops]",
        "warning: answer [red]42[/red] [/oops]",
    ]


@pytest.mark.parametrize("phase", ["sample", "judge", "estimate", "optimise", "publish", "evaluate", "checkpoint"])
def test_every_phase_of_the_loop_has_a_name(progress: Progress, phase: str) -> None:
    progress.phase(phase, 1)
    assert progress.bars.tasks[1].description not in ("", phase)
