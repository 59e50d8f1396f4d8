r"""Mathematics: the last ``\boxed{...}`` of an answer, compared by math-verify."""

from __future__ import annotations

import logging
import re
from typing import Any

from lightrft_rewards.errors import LabelError
from lightrft_rewards.rules.latex import normal_form

_BRACES = re.compile(r"\\boxed\s*\{|\\[{}]|[{}]")


def boxed(response: str, label: Any) -> float:
    r"""1 if the content of the last complete ``\boxed{...}`` equals the label as mathematics, else 0 (0 without a box).

    label: LaTeX or plain text, in dollar signs, in a box, inside a worked solution that ends in a box, or bare; or a
    number. Raises LabelError if it is missing or holds no expression.
    Comparing can take for ever on a hostile expression: run it in a worker, which has a deadline.
    """
    from math_verify import parse, verify  # slow to import, and only this rule needs it

    expected = parse(_in_box(_label_text(label)), parsing_timeout=0)
    if not expected:
        raise LabelError(f"rule boxed cannot read an expression from its label {label!r:.200}")
    content = last_box(response)
    if content is None:
        return 0.0
    return float(verify(expected, parse(_in_box(content), parsing_timeout=0), timeout_seconds=0))


def prepare_boxed() -> None:
    """Import math-verify and build its parser, so that no sample's deadline pays for it."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its own, signal-based time-out is off
    boxed(r"\boxed{\frac{1}{2}}", "0.5")


def boxed_answer(response: str) -> str | None:
    r"""The content of the last complete ``\boxed{...}``, written in one way as far as reading it as text can: without
    spaces, dollars, ``\left`` and ``\text``, and a number in its exact form.

    None without a box or with an empty one. Unlike `boxed` it does no mathematics (1+x is not x+1), and takes time
    linear in the response.
    """
    content = last_box(response)
    return None if content is None else normal_form(content)


def last_box(text: str) -> str | None:
    r"""The content of the ``\boxed{...}`` that opens last among those whose braces are balanced, or None."""
    opened: list[int | None] = []
    best: tuple[int, str] | None = None
    for token in _BRACES.finditer(text):
        if token[0] == "}":
            start = opened.pop() if opened else None
            if start is not None and (best is None or start > best[0]):
                best = (start, text[start : token.start()])
        elif token[0] == "{":
            opened.append(None)
        elif token[0].endswith("{") and token[0] != r"\{":
            opened.append(token.end())
    return best[1] if best else None


def _in_box(content: str) -> str:
    return rf"\boxed{{{content}}}"


def _label_text(label: Any) -> str:
    if isinstance(label, int | float) and not isinstance(label, bool):
        return repr(label)
    if not isinstance(label, str) or not label.strip():
        raise LabelError(f"rule boxed needs an expression or a number as its label; this label is {label!r:.200}")
    content = last_box(label)
    return label.strip().strip("$") if content is None else content
