"""What a run may want of its surroundings: compilers, the model hub, a sandbox for programs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
from huggingface_hub import constants

from lightrft_apps.diagnosis.findings import Finding
from lightrft_apps.diagnosis.probe import Answer

HUB_SECONDS = 5.0
GIB = 2**30

SANDBOX = """
import json
from lightrft_rewards.sandbox import Sandbox
sandbox = Sandbox()
sandbox.close()
print(json.dumps({}))
"""
"""Starts a sandbox, which tries whether a program in it can do what it must not."""


def sandbox(answer: Answer) -> Finding:
    """Whether programs can be run as answers, from what SANDBOX said."""
    if answer.why:
        return Finding("sandbox", "note", f"none: {answer.why}", "the code rules will not work here; all else does")
    return Finding("sandbox", "well", "programs can be confined: the code rules work")


def compilers(*, needed: bool) -> Iterator[Finding]:
    """What builds operators when they are first used. needed: whether something that builds them is installed."""
    found = {name: shutil.which(name) for name in ("c++", "ninja")}
    missing = [name for name, path in found.items() if path is None]
    if missing and needed:
        advice = "apt-get install g++ ninja-build, if you use --adam_offload or --compile"
        yield Finding("compilers", "note", f"there is no {' and no '.join(missing)}", advice)
    elif not missing:
        yield Finding("compilers", "well", ", ".join(str(path) for path in found.values()))


def hub(get: httpx.Client | None = None) -> Iterator[Finding]:
    """Whether models can be fetched by name, and where they are kept. get: what asks; None: httpx."""
    cache = Path(constants.HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free / GIB
    held = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    writable = os.access(place, os.W_OK)
    yield Finding(
        "cache",
        "well" if writable and free > 1 else "note",
        f"{cache}: {held} models, {free:.0f} GiB free{'' if writable else ', not writable'}",
        "" if writable and free > 1 else "set HF_HOME to a folder with room",
    )
    if constants.HF_HUB_OFFLINE:
        yield Finding("model hub", "note", "HF_HUB_OFFLINE is set: only models of the cache and of folders are found")
        return
    try:
        with get or httpx.Client(timeout=HUB_SECONDS, follow_redirects=True) as client:
            client.head(constants.ENDPOINT)
    except httpx.HTTPError as error:
        advice = "give folders as --pretrain, or HF_ENDPOINT a mirror; HF_HUB_OFFLINE=1 spares the waiting"
        yield Finding("model hub", "note", f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})", advice)
    else:
        yield Finding("model hub", "well", f"{constants.ENDPOINT} answers")
