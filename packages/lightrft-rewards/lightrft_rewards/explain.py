"""An exception in one line."""

from __future__ import annotations

import traceback

MESSAGE_LIMIT = 500


def writable(text: str) -> str:
    """The text as UTF-8 can hold it: halves of a letter, which JSON of others may bring, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def explain(error: BaseException, path: str = "", shown: str = "") -> str:
    """``ZeroDivisionError: division by zero (reward.py:14)``.

    path: the user's file; the line given is the last one of it the exception passed through, or the last of all if it
    passed through none. shown: how to call that file.
    """
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:MESSAGE_LIMIT]}".removesuffix(": ")
    if isinstance(error, SyntaxError) and error.filename:
        text = f"{type(error).__name__}: {error.msg}"
        return f"{text} ({shown if error.filename == path else error.filename}:{error.lineno})"
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [(shown, line) for file, line in lines if file == path]
    where = (own or lines)[-1:]
    return f"{text} ({where[0][0]}:{where[0][1]})" if where else text
