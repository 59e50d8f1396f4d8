"""Whether the engines that a run waits for are there: their processes, and whether they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx
import psutil

from lightrft_apps.diagnosis.findings import Finding
from lightrft_apps.diagnosis.waiting import RankState

ANSWER_SECONDS = 5.0
_MODULES = ("vllm.entrypoints.launchers.api_server.entry", "sglang.launch_server")
"""What Python runs (-m) where a server is ours."""


def servers(states: Sequence[RankState], config: Mapping[str, Any]) -> Iterator[Finding]:
    """Of the servers that ranks of this machine have started, and of those that the run was given (--engine_url)."""
    alive = [state.beat for state in states if state.beat.state == "running" and state.beat.process() is not None]
    if not alive:
        return
    for beat in alive:
        for process in own_servers(beat.pid):
            with suppress(psutil.Error):
                yield _asked(f"the engine of rank {beat.rank} (process {process.pid})", _address(process), process)
    for url in str(config.get("engine_url") or "").split(","):
        if url.strip():
            yield _asked("the engine", url.strip(), None)


def own_servers(pid: int) -> Iterator[psutil.Process]:
    """The engines' servers that a process has started, with none of the processes that these have."""
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                words = child.cmdline()
                if words[1:2] == ["-m"] and words[2:3] and words[2] in _MODULES and "--port" in words[:-1]:
                    yield child


def _address(server: psutil.Process) -> str:
    """Where it was told to listen."""
    words = server.cmdline()
    return f"http://127.0.0.1:{words[words.index('--port') + 1]}"


def _asked(who: str, url: str, process: psutil.Process | None) -> Finding:
    name = f"{who} at {url}"
    status = ""
    with suppress(psutil.Error):
        status = str(process.status()) if process is not None else ""
    if status == psutil.STATUS_STOPPED and process is not None:
        return Finding("engine", "bad", f"{name} is stopped", f"kill -CONT {process.pid} lets it go on")
    try:
        with httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as client:
            code = client.get("/health").status_code
    except httpx.ConnectError as error:
        if process is not None:
            return Finding("engine", "note", f"{name} does not listen yet", "a large model takes minutes to load")
        return _deaf(name, error)
    except httpx.HTTPError as error:
        return _deaf(name, error)
    if code >= 500:
        return Finding("engine", "bad", f"{name} says HTTP {code} at /health", "see its log")
    return Finding("engine", "well", f"{name} answers")


def _deaf(name: str, error: httpx.HTTPError) -> Finding:
    words = f"{name} does not answer /health: {type(error).__name__}"
    return Finding("engine", "bad", words, "see its log; the run gives up after --engine_timeout")
