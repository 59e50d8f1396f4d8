"""What a run's answers are judged by, in a form that can be sent to a worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lightrft_rewards.combination import RewardSpec, spec_for
from lightrft_rewards.errors import RewardSetupError
from lightrft_rewards.rules.arguments import argument_file
from lightrft_rewards.samples import Sample


@dataclass(frozen=True)
class Scoring:
    """Rules by route, or one user function; exactly one of the two. Raises RewardSetupError otherwise.

    function: ``file.py:function``. The path may be relative to the current folder.
    """

    routes: Mapping[str, RewardSpec] = field(default_factory=dict[str, RewardSpec])
    function: str = ""

    def __post_init__(self) -> None:
        if self.routes and self.function:
            raise RewardSetupError(
                f"both rules and the function {self.function} are given; take one: "
                "a function can call the rules itself (from lightrft_rewards import RULES)"
            )
        if not self.routes and not self.function:
            raise RewardSetupError(
                "no reward is given; name rules (number:1.0,format:0.2) or a function (file.py:name)"
            )
        if self.function:
            split_target(self.function)

    def name_for(self, sample: Sample) -> str:
        """What judges the sample, as error messages call it."""
        if self.function:
            return self.function
        spec = spec_for(self.routes, sample.route)
        return f"the reward {spec}" if spec else "no reward"

    def to_message(self) -> dict[str, object]:
        """For a worker: the rules as text; the function with the absolute path of its file."""
        if not self.function:
            return {"routes": {route: str(spec) for route, spec in self.routes.items()}}
        return {"function": self.function, "path": str(split_target(self.function)[0].resolve())}

    def fingerprint(self) -> str:
        """Differs when the rules, their weights, the files they are given or the text of the function's file differ."""
        if not self.function:
            names = sorted({name for spec in self.routes.values() for name in spec.weights})
            files = [file.read_bytes() for name in names if (file := argument_file(name))]
            content = b"\0".join([json.dumps(self.to_message(), sort_keys=True).encode(), *files])
        else:
            path, name = split_target(self.function)
            content = name.encode() + b"\0" + path.read_bytes()
        return hashlib.sha256(content).hexdigest()


def split_target(target: str) -> tuple[Path, str]:
    """``file.py:function`` in two. Raises RewardSetupError if it has another form or there is no such file."""
    file, _, name = target.rpartition(":")
    if not file or not name.isidentifier():
        raise RewardSetupError(f"the reward function {target!r} must be written file.py:function")
    path = Path(file).expanduser()
    if not path.is_file():
        raise RewardSetupError(f"the reward function {target}: there is no file {file} in {Path.cwd()}")
    return path, name
