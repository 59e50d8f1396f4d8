"""What computes, and with which attention: asked of torch in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from lightrft_apps.diagnosis.findings import PATIENCE, Finding
from lightrft_apps.diagnosis.probe import Answer

PROGRAM = """
import json, torch
from lightrft_strategy import devices
from transformers.utils import is_flash_attn_2_available, is_torch_flex_attn_available
where = devices.device()
found = []
if where.type != "cpu":
    for number in range(torch.accelerator.device_count()):
        free, total = torch.accelerator.get_memory_info(number)
        found.append({"number": number, "free": free, "total": total})
print(json.dumps({
    "kind": where.type, "devices": found, "bfloat16": devices.computes_in(torch.bfloat16),
    "fp8": devices.supports_fp8(), "flash_attention_2": bool(is_flash_attn_2_available()),
    "flex_attention": bool(is_torch_flex_attn_available()), "threads": torch.get_num_threads(),
}))
"""
"""Says what devices there are and what they can do."""

GIB = 2**30
NEARLY_FULL = 0.5
"""A device with less than this share of its memory free is remarked upon."""


def devices(answer: Answer) -> Iterator[Finding]:
    """From what PROGRAM said."""
    if answer.late:
        yield Finding("torch", "note", answer.why, PATIENCE)
        return
    if answer.why:
        yield Finding("torch", "bad", f"does not work: {answer.why}", "uv sync; on an accelerator, see to its driver")
        return
    said: dict[str, Any] = answer.said
    if said["kind"] == "cpu":
        threads = f"{said['threads']} threads"
        yield Finding(
            "accelerator", "note", f"none: the CPU computes, in {threads}", "small models alone are quick there"
        )
    for one in said["devices"]:
        full = one["free"] < NEARLY_FULL * one["total"]
        yield Finding(
            f"{said['kind']} {one['number']}",
            "note" if full else "well",
            f"{one['free'] / GIB:.1f} GiB free of {one['total'] / GIB:.1f}",
            "another process holds the rest: end it, or choose another device" if full else "",
        )
    yield Finding(
        "bfloat16",
        "well" if said["bfloat16"] else "note",
        "is computed in" if said["bfloat16"] else "is not computed in here",
        "" if said["bfloat16"] else "leave --bf16 out, or --fp16",
    )
    kinds = [name for name in ("flash_attention_2", "flex_attention") if said[name]]
    yield Finding("attention", "well", f"eager, sdpa{''.join(f', {name}' for name in kinds)}")
    if said["kind"] != "cpu":
        yield Finding("8-bit floats", "well", "the device multiplies them" if said["fp8"] else "not on this device")


def engine_packages() -> dict[str, str]:
    """name -> what it is to be imported as, of the heavy optional packages that are there. Nothing is imported."""
    names = {"vllm": "vllm", "sglang": "sglang", "deepspeed": "deepspeed", "peft": "peft"}
    return {name: module for name, module in names.items() if find_spec(module) is not None}


IMPORT = """
import importlib, json, sys, time
began = time.perf_counter()
module = importlib.import_module(sys.argv[1])
print()
print(json.dumps({"seconds": time.perf_counter() - began, "version": getattr(module, "__version__", "")}))
"""
"""Imports the module that its first word names."""


def imported(name: str, answer: Answer) -> Finding:
    """Whether a package can be imported, from what IMPORT said."""
    if answer.late:
        return Finding(name, "note", f"its import: {answer.why}", PATIENCE)
    if answer.why:
        return Finding(name, "bad", f"is installed and cannot be imported: {answer.why}", f"uv sync --extra {name}")
    return Finding(name, "well", f"{answer.said['version']} imports, in {answer.said['seconds']:.1f} s".strip())
