"""How much a judged program may take."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The bounds of one program; one that reaches a bound is refused more, or killed.

    cpu_seconds: of processor time, all its threads together. wall_seconds: until it is killed, whatever it does.
    memory: bytes of address space beyond the bare interpreter's. folder: bytes in its folder. output: bytes on standard
    output. threads: beside the first. open_files: descriptors.
    Raises ValueError for one that is not above 0.
    """

    cpu_seconds: int = 4
    wall_seconds: float = 9.0
    memory: int = 512 * MIB
    folder: int = 64 * MIB
    output: int = 8 * MIB
    threads: int = 16
    open_files: int = 64

    def __post_init__(self) -> None:
        low = [name for name, value in vars(self).items() if not value > 0]
        if low:
            raise ValueError(f"the sandbox's limits must be above 0; {', '.join(low)} is not")
