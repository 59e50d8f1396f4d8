"""One safetensors file, written with its checksum in one pass over its tensors."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightrft_strategy.manifest import Seal

_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor]) -> Seal:
    """Write tensors in the safetensors format, flush them to disk, and return the file's size and checksum.

    They are taken to the host one at a time. Raises ValueError for a dtype that safetensors has no name for.
    Format: https://huggingface.co/docs/safetensors/index#format
    """
    checksum, size = hashlib.sha256(), 0
    with path.open("wb") as file, ThreadPoolExecutor(1) as hasher:
        for piece in _pieces(tensors):
            hashed = hasher.submit(checksum.update, piece)
            file.write(piece)
            hashed.result()
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return Seal(bytes=size, sha256=checksum.hexdigest())


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The header's length, the header, and every tensor's bytes: wide elements first, so that all are aligned."""
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in ordered:
        if tensor.dtype not in _CODES:
            raise ValueError(f"{name} has dtype {tensor.dtype}, which a checkpoint cannot keep: convert it first")
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        yield flat.view(torch.uint8).numpy().data
