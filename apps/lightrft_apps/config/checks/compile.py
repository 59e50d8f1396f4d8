"""Whether layers can be compiled here, and as they are held."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec

from lightrft_apps.config.learning import LearningConfig

COMPILERS = ("g++", "clang++", "c++")


def compile_problems(config: LearningConfig) -> Iterator[str]:
    """What to change about --compile."""
    if not config.train.compile:
        return
    yield from compile_conflicts(config)
    from lightrft_strategy.devices import device

    compilers = (os.environ["CXX"],) if os.environ.get("CXX") else COMPILERS
    if device().type == "cpu" and not any(map(shutil.which, compilers)):
        yield (
            f"--compile: torch.compile writes C++ for the CPU, and there is no {' or '.join(compilers)} to compile it: "
            "install one (apt-get install g++), name it in the environment variable CXX, or leave --compile out"
        )
    if device().type != "cpu" and find_spec("triton") is None:
        yield "--compile: the package triton, which writes the kernels, is not installed: leave --compile out"


def compile_conflicts(config: LearningConfig) -> Iterator[str]:
    """What to change so that layers can be compiled beside the other flags, on whatever machine."""
    if not config.train.compile:
        return
    if config.parallel.zero_stage == 3:
        yield (
            "--compile with --zero_stage 3, which gathers weights within the layers that would be compiled: "
            "set --zero_stage 2 or --fsdp, or leave --compile out"
        )
    if config.train.aux_loss_coef > 0:
        yield "--compile with --aux_loss_coef, which listens to routers within the layers: leave one of them out"
