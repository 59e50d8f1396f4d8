"""What a generative judge is asked, and how: what is kept beside its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

FILE = "judge.json"
KINDS = ("pairwise", "pointwise")


@dataclass(frozen=True)
class JudgeForm:
    """How a judge is asked.

    kind: pairwise, which of two answers is better; or pointwise, the grade of one.
    reasoning: it thinks before it judges, between <think> and </think>.
    ties: it may say that both answers are equally good.
    lowest, highest: the worst and the best grade.
    heads: what it judges, as comparisons name it; of anything but "score" the question says what.
    apply_chat_template: questions are written in the chat template, else as plain text.
    max_len: the most tokens of a question with its judgement; None: any number.
    generate_max_len: the most tokens of a judgement.

    Raises ValueError for what cannot be.
    """

    kind: str = "pairwise"
    reasoning: bool = False
    ties: bool = True
    lowest: float = 1.0
    highest: float = 5.0
    heads: tuple[str, ...] = ("score",)
    apply_chat_template: bool = True
    max_len: int | None = None
    generate_max_len: int = 1024

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a judge is {' or '.join(KINDS)}, not {self.kind!r}")
        if not self.lowest < self.highest:
            raise ValueError(f"the lowest grade {self.lowest:g} must be below the highest {self.highest:g}")
        if not self.heads or self.generate_max_len < 1:
            raise ValueError("a judge judges something, in a token or more")

    @property
    def pairwise(self) -> bool:
        """Whether two answers are shown at once."""
        return self.kind == "pairwise"

    def write(self, folder: Path) -> None:
        """Keep it in a model's folder, as judge.json."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: str | Path) -> Self | None:
        """What the folder's judge.json says; None if it has none: its model is no judge of ours.

        Raises ValueError, naming the file, for one that says something else.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            return None
        try:
            said: dict[str, Any] = json.loads(file.read_text("utf-8"))
            return cls(**{**said, "heads": tuple(said["heads"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file} does not say how the judge is asked: {error}") from error
