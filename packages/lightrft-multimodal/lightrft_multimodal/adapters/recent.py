"""What was computed lately, kept as long as it fits in a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by key; those not asked for the longest leave when all together exceed max_bytes.

    size: the bytes of a value. One larger than max_bytes is not kept at all.
    """

    def __init__(self, max_bytes: int, size: Callable[[Value], int]) -> None:
        self.max_bytes, self.size, self.bytes = max_bytes, size, 0
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, which is now the last to leave."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def keep(self, key: Hashable, value: Value) -> None:
        """Keep a value in place of the key's former one."""
        former = self._values.pop(key, None)
        self.bytes += self.size(value) - (0 if former is None else self.size(former))
        self._values[key] = value
        while self.bytes > self.max_bytes:
            _, oldest = self._values.popitem(last=False)
            self.bytes -= self.size(oldest)

    def clear(self) -> None:
        """Keep nothing of what there is."""
        self._values.clear()
        self.bytes = 0
