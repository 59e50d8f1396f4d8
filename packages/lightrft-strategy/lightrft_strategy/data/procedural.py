"""Tasks made on the spot by reasoning-gym: the source `reasoning_gym:chain_sum?size=500&seed=7&max_terms=2`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lightrft_strategy.data.rejected import PromptDataError, Rejected
from lightrft_strategy.data.rows import Keys, Row

TASK_PREFIX = "reasoning_gym:"
TASK_KEYS = Keys()
_WORKER = Path(__file__).with_name("procedural_worker.py")


def read_task(task: str, options: dict[str, str], count: int | None) -> Iterator[Row | Rejected]:
    """The first `count` rows of a task (None: all of them; 500 unless `size` says otherwise).

    options: the task's own, among them size and seed (0 if not given). The same task and options give the same rows
    in every process. A row's label is {"task": name, "entry": item}, its route "reasoning_gym".
    Raises PromptDataError for an unknown task or option, or a value the task does not accept.
    """
    source = TASK_PREFIX + task
    for number, line in enumerate(_run_worker(source, task, {"seed": "0"} | options, count), start=1):
        answer = json.loads(line)
        if "error" in answer:
            raise PromptDataError(f"{source}: {answer['error']}")
        if "reason" in answer:
            yield Rejected(source, number, answer["reason"], {"task": task, "options": options})
            continue
        item = answer["item"]
        yield Row(number, {"input": item["question"], "label": {"task": task, "entry": item}, "route": "reasoning_gym"})


def _run_worker(source: str, task: str, options: dict[str, str], count: int | None) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", str(_WORKER)],
        input=json.dumps({"task": task, "options": options, "count": count}),
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise PromptDataError(f"{source}: reasoning-gym ended with code {done.returncode}: {last}")
    return done.stdout.splitlines()
