"""LightRFT's `train` on the task, a step a turn.

python -m vs_trl_sides.lightrft_side SHAPE REWARD SEED STEPS FOLDER [flag=value]

Flags are those of `lightrft rl`, their values JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightrft_apps import RLConfig
from lightrft_apps.recording.recorder import RunRecorder
from lightrft_apps.training import rl as training
from lightrft_core import Group
from vs_trl_sides.task import SHAPES, recipe
from vs_trl_sides.turns import Turns


class Paced(RunRecorder):
    """The run's recorder, which waits for its turn before each step and says what the step before it took."""

    turns: Turns
    report: Mapping[str, Any] = {}

    @contextmanager
    def phase(self, name: str, step: int) -> Iterator[None]:
        if name == "sample":
            self.turns.wait(dict(self.report))
        with super().phase(name, step):
            yield

    def record(self, step: int, metrics: Mapping[str, float], groups: Sequence[Group]) -> None:
        took = dict(self.phases.seconds)
        super().record(step, metrics, groups)
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        ids = [list(group.prompt.token_ids) for group in groups]
        self.report = {
            "prompt_tokens": [len(row) for row in ids],
            "prompts": hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16],
            "lengths": [len(rollout.token_ids) for rollout in rollouts],
            "rewards": [rollout.verdict.score if rollout.verdict else None for rollout in rollouts],
            "trained": sum(rollout.advantage != 0 for rollout in rollouts),
            "phases": {
                "generate": took["sample"],
                "reward": took["judge"],
                "learn": took["estimate"] + took["optimise"],
                "publish": took["publish"],
            },
        }


def main(name: str, reward: str, seed: str, steps: str, folder: str, *words: str) -> None:
    Paced.turns = Turns()
    training.RunRecorder = Paced  # type: ignore[attr-defined]
    wishes = {key: json.loads(value) for key, value in (word.split("=", 1) for word in words)}
    flags = recipe(SHAPES[name], reward, int(seed), int(steps), str(Path(folder) / "run"))
    training.train(RLConfig.create(**flags | wishes))


if __name__ == "__main__":
    main(*sys.argv[1:])
