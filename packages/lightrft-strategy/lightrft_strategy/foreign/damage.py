"""What reading a damaged file raises."""

from __future__ import annotations

import pickle
import struct

from safetensors import SafetensorError

DAMAGE: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    SafetensorError,
    pickle.UnpicklingError,
    struct.error,
)
"""By the disk, or by pickle's machine, torch's reader or safetensors' of bytes that nobody wrote so."""
