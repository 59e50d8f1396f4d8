"""What an examination found, for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from rich.console import Console
from rich.markup import escape

Level: TypeAlias = Literal["well", "note", "bad"]

_LOOKS: dict[Level, tuple[str, str]] = {"well": ("ok", "green"), "note": ("!", "yellow"), "bad": ("x", "red")}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. words: what it is like. advice: what to do, "" where nothing has to be done."""

    subject: str
    level: Level
    words: str
    advice: str = ""


PATIENCE = "try again with a longer --patience where nothing else runs; if it is still not done, it hangs"
"""What to do about something that was not done in time."""


@dataclass(frozen=True)
class Found:
    """An examination. verdict: the lines that matter most. sections: title -> what was looked at.

    stacks: of what is stuck, title -> lines. numbers: more for programs.
    """

    verdict: Sequence[Finding]
    sections: Mapping[str, Sequence[Finding]]
    stacks: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    numbers: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def well(self) -> bool:
        """Whether nothing is red."""
        everything = [*self.verdict, *(finding for part in self.sections.values() for finding in part)]
        return all(finding.level != "bad" for finding in everything)


def show(found: Found, *, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        sys.stdout.write(json.dumps({"well": found.well} | asdict(found), indent=2) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    for finding in found.verdict:
        _line(console, finding.words, finding)
    for title, lines in found.stacks.items():
        console.print(f"\n[bold]{escape(title)}[/bold]")
        for line in lines:
            console.print(f"  {escape(line)}")
    for title, findings in found.sections.items():
        console.print(f"\n[bold]{escape(title)}[/bold]")
        width = max((len(finding.subject) for finding in findings), default=0)
        for finding in findings:
            _line(console, f"{finding.subject:<{width}}  {finding.words}", finding)


def _line(console: Console, text: str, finding: Finding) -> None:
    mark, colour = _LOOKS[finding.level]
    advice = f"\n     -> {finding.advice}" if finding.advice else ""
    console.print(f"[{colour}]{mark:>2}[/{colour}] {escape(text)}{escape(advice)}")
