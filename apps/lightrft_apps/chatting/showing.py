"""What a terminal shows of answers and of what rewards say of them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lightrft_apps.chatting.conversation import Answer, Exchange
from lightrft_apps.drawing.harmless import harmless
from lightrft_core import Verdict

NOTE_LETTERS = 2000
"""Shown of what a judge wrote."""

ENDS = {"length": "cut off at generate_max_len", "interrupted": "stopped"}


def say(line: str) -> None:
    """A line on standard error, beside answers that go elsewhere."""
    Console(stderr=True, highlight=False).print(said(line), soft_wrap=True)


def said(text: str, style: str = "") -> Text:
    """Text of others, as it may be shown."""
    return Text(harmless(text), style=style)


def footer(answer: Answer) -> str:
    """An answer in numbers: its tokens, its time, and why it ended if it did not end by itself."""
    parts = [] if answer.tokens is None else [f"{answer.tokens} token{'s' * (answer.tokens != 1)}"]
    parts.append(f"{answer.seconds:.1f} s")
    if answer.tokens and answer.seconds > 0:
        parts.append(f"{answer.tokens / answer.seconds:.1f} tokens/s")
    if answer.finish_reason in ENDS:
        parts.append(ENDS[answer.finish_reason])
    return ", ".join(parts)


def judgement(verdict: Verdict) -> list[Text]:
    """What rewards say of one answer: the score, its parts, its steps, a judge's words."""
    if verdict.score is None:
        why = verdict.error or ("judging took too long" if verdict.timed_out else "")
        return [Text("not judged: ", "yellow") + said(why)]
    head = Text.assemble(("reward ", "bold"), (f"{verdict.score:.4g}", "bold cyan"))
    for name, value in verdict.parts.items():
        head.append("   ").append_text(said(name)).append(f" {value:.4g}", "cyan")
    lines = [head]
    if verdict.steps:
        lines.append(Text("steps  " + "  ".join(f"{value:.3g}" for _, value in verdict.steps)))
    for name, note in verdict.notes.items():
        shown = note if len(note) <= NOTE_LETTERS else note[:NOTE_LETTERS] + " ..."
        lines.append(said(f"{name}: ", "italic") + said(shown, "dim"))
    return lines


def under(answer: Answer) -> list[Text]:
    """What stands below an answer."""
    return [Text(footer(answer), "dim"), *(judgement(answer.verdict) if answer.verdict else [])]


def columns(names: Sequence[str], texts: Sequence[str], answers: Sequence[Answer] = ()) -> RenderableType:
    """Answers beside each other, each under the name of who gave it; whole ones with their numbers and judgements."""
    table = Table.grid(expand=True, padding=(0, 1))
    for _ in names:
        table.add_column(ratio=1)
    panels = []
    for place, (name, text) in enumerate(zip(names, texts, strict=True)):
        lines = under(answers[place]) if answers else []
        panels.append(Panel(Group(said(text), *lines), title=said(name, "bold"), title_align="left"))
    table.add_row(*panels)
    return table


def question(exchange: Exchange) -> Text:
    """A question that was asked before, with the names of what it showed."""
    shown = "".join(f"[{attachment.name}] " for attachment in exchange.attachments)
    return Text("> ", "bold green") + said(shown, "magenta") + said(exchange.text)
