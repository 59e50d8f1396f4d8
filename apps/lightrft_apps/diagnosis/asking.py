"""Asks the processes of a run on this machine what they are doing, without disturbing them."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import psutil

from lightrft_apps.diagnosis.waiting import Helper, RankState, state_of
from lightrft_strategy.training import stacks
from lightrft_strategy.training.beats import Beat, stack_file


def ask_rank(beat: Beat, now: float, folder: Path) -> RankState:
    """What a rank does: by its last word, and if it is a process of this machine, by its stacks. now: Unix time by the
    clock of its machine; folder: of the beats.

    Only a process that began when the rank did is asked; another may have got its number since.
    """
    if beat.state != "running":
        return state_of(beat, now, None)
    process = beat.process()
    if process is None:
        return state_of(beat, now, "" if beat.here else None)
    status = _state(process)
    dump = stacks.parse(stacks.ask(beat.pid, stack_file(folder, beat.rank)))
    stack = [frame.words() for frame in dump.get(beat.thread, [])]
    return state_of(beat, time.time(), status, stack, list(_helpers(beat.pid)))


def _helpers(pid: int) -> list[Helper]:
    found = []
    for child, memory in stacks.helpers(pid):
        threads = list(stacks.parse(stacks.ask(child, memory)).values())
        if threads and threads[-1]:
            with suppress(psutil.Error):
                found.append(Helper(child, _state(psutil.Process(child)), threads[-1]))
    return found


def _state(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.Error:
        return ""
