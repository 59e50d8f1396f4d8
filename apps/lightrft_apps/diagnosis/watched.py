"""Ranks of other machines, whose clocks may be wrong, watched for a while: those that live say something new."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lightrft_apps.diagnosis.run_files import read_beats
from lightrft_apps.recording.directory import RunDirectory
from lightrft_strategy.training.beats import Beat
from lightrft_strategy.training.heartbeat import BEAT_SECONDS, SILENT_SECONDS

WATCHED = 3 * BEAT_SECONDS
"""Seconds within which a rank that runs says something new."""
_PAUSE = 0.2


def watched(run: RunDirectory, beats: Sequence[Beat]) -> list[tuple[Beat, float]]:
    """The ranks' last words, each with the Unix time by the clock of its machine.

    A word that comes while one watches is new, whatever its clock says. One that does not change is as old as our clock
    says; where that would have it written after it was read, it is watched until it counts as silent.
    """
    newest, fresh, began = {beat.rank: beat for beat in beats}, set[int](), time.monotonic()
    read = time.time()
    elsewhere = {beat.rank: beat for beat in beats if beat.state == "running" and not beat.here}

    def passed() -> float:
        return time.monotonic() - began

    def unsure(beat: Beat) -> bool:
        return beat.rank not in fresh and passed() < (WATCHED if beat.beat <= read else max(WATCHED, SILENT_SECONDS))

    while any(unsure(beat) for beat in elsewhere.values()):
        time.sleep(_PAUSE)
        for beat in read_beats(run)[0]:
            if beat.rank in elsewhere and beat.count != elsewhere[beat.rank].count:
                newest[beat.rank] = beat
                fresh.add(beat.rank)

    def now(beat: Beat) -> float:
        if beat.rank in fresh:
            return beat.beat
        return max(time.time(), beat.beat + passed()) if beat.rank in elsewhere else time.time()

    return [(beat, now(beat)) for beat in newest.values()]
