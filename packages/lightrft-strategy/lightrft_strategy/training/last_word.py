"""A rank's last word as a file, written aside: a disk that stalls holds up nobody but who writes."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from lightrft_strategy.training.beats import Beat, write_beat


class LastWord:
    """Writes a rank's words to its file, from a thread, in their order; of those that have piled up, the last alone.

    A signal's handler may call it while the thread it interrupts does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: SimpleQueue[Beat | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="heartbeat file", daemon=True)
        self._thread.start()

    def say(self, beat: Beat) -> None:
        """Hand a word over; it is written soon."""
        self._said.put(beat)

    def close(self, seconds: float) -> bool:
        """Wait for the last word to be written, so long at most. Returns whether it was."""
        self._said.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        going = True
        while going:
            said = [self._said.get()]
            while not self._said.empty():
                said.append(self._said.get())
            going = None not in said
            for beat in [beat for beat in said if beat is not None][-1:]:
                with suppress(OSError):
                    write_beat(self._folder, beat)
