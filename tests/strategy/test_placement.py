"""Who has the devices when, and the memory at every border."""

from __future__ import annotations

import mmap
import subprocess
import sys

from lightrft_strategy.placement import GIB, Placement, memory_in_use


def block(gib: float) -> mmap.mmap:
    """Resident memory that the kernel has back at once when it is closed, whatever the allocator does."""
    memory = mmap.mmap(-1, int(gib * GIB))
    memory.write(b"1" * len(memory))
    return memory


class Dozy:
    """Holds a block of memory while it is awake."""

    def __init__(self) -> None:
        self.naps = 0
        self.block = block(0.5)

    def sleep(self) -> None:
        self.naps += 1
        self.block.close()


def test_the_engine_sleeps_once_while_the_trainer_learns() -> None:
    engine = Dozy()
    placement = Placement(engine)
    for _ in range(2):
        for name in ("sample", "judge", "sample", "judge", "estimate", "optimise", "publish", "evaluate"):
            with placement.phase(name):
                pass
    assert engine.naps == 2


def test_memory_is_known_before_and_after_each_phase_and_what_sleep_has_freed() -> None:
    placement = Placement(Dozy())
    with placement.phase("sample"):
        pass
    with placement.phase("optimise"):
        grown = block(0.25)
    numbers = placement.take()
    assert abs(numbers["memory/engine_freed_gib"] - 0.5) < 0.1
    assert abs(numbers["memory/optimise_after_gib"] - numbers["memory/optimise_before_gib"] - 0.25) < 0.1
    assert numbers["memory/sample_before_gib"] > numbers["memory/optimise_before_gib"] + 0.4
    assert placement.take() == {}
    grown.close()


def test_on_the_cpu_it_is_said_once_what_sleep_could_not_free() -> None:
    said: list[str] = []
    placement = Placement(Dozy(), said.append)
    for name in ("sample", "optimise", "sample", "optimise"):
        with placement.phase(name):
            pass
    assert len(said) == 1
    assert said[0].startswith("asleep, the engine gave back 0.5 GiB")


def test_without_an_engine_phases_only_tell_their_memory() -> None:
    placement = Placement()
    with placement.phase("optimise"):
        pass
    assert placement.take().keys() == {"memory/optimise_before_gib", "memory/optimise_after_gib"}


def test_memory_of_child_processes_counts() -> None:
    before = memory_in_use()
    hold = "import sys; block = bytearray(300 * 2**20); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert (memory_in_use() - before) / GIB > 0.28
        child.communicate()
