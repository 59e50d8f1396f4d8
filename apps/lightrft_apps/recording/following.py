"""A run's file of lines that grows, and is sometimes replaced by a shorter one, read as far as it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightrft_apps.recording.lines import line_of


class JsonLines:
    """The lines of a file that count; what is read once is not read again, unless another file takes its place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[dict[str, Any]] = []
        self._inode, self._read = 0, 0

    def lines(self) -> list[dict[str, Any]]:
        """All of them so far, none while there is no file. A last line without its end is still being written."""
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_ino != self._inode or stat.st_size < self._read:
                    self._lines, self._inode, self._read = [], stat.st_ino, 0
                file.seek(self._read)
                content = file.read()
        except FileNotFoundError:
            self._lines, self._read = [], 0
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        read = map(line_of, whole.splitlines(True))
        self._lines += [line for line in read if line is not None]
        return self._lines
