"""What ranks hold models in while they load them, which test_loading.py asks for in real processes."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch
from safetensors.torch import load_file

from lightrft_apps.config import ConfigError, RLConfig
from lightrft_apps.models import compose, loading
from lightrft_apps.models.senses import Senses
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.training import TorchRanks
from lightrft_strategy.training.full import full_tensors

C_LIBRARY, MMAP_THRESHOLD = ctypes.CDLL(None), -3


class Growth:
    """Bytes of this process's own memory (mapped files left out) beyond those at the beginning, at most."""

    def __init__(self) -> None:
        gc.collect()
        C_LIBRARY.mallopt(MMAP_THRESHOLD, 1 << 16)  # what is freed is given back
        C_LIBRARY.malloc_trim(0)
        self.before = self.most = own_memory()

    @property
    def bytes(self) -> int:
        return self.most - self.before


def own_memory() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024


@contextmanager
def watched() -> Iterator[Growth]:
    growth, over = Growth(), Event()

    def look() -> None:
        while not over.wait(0.001):
            growth.most = max(growth.most, own_memory())

    thread = Thread(target=look)
    thread.start()
    try:
        yield growth
    finally:
        growth.most = max(growth.most, own_memory())
        over.set()
        thread.join()


def run_of(folder: Path, **flags: Any) -> RLConfig:
    chosen: dict[str, Any] = {"prompt_data": "reasoning_gym:chain_sum", "rule_reward": "number", "output_dir": "unused"}
    return RLConfig.create(pretrain=str(folder), **chosen | {"fsdp": True} | flags)


def held(config: RLConfig, model: Any, **how: Any) -> Any:
    return compose.held(config, {"policy": LanguageActor(model, **how)}, {}, TorchRanks())


def grown_by_loading(folder: Path, whole: bool) -> tuple[int, int, bool]:
    """The most memory that a frozen model takes until it is held, and its copy in bfloat16; whether both are right.

    whole: load the model as other runs do.
    """
    config = run_of(folder, bf16=True)
    plain = run_of(folder)
    with watched() as first:
        model = loading.load_model(plain.model) if whole else loading.load_to_hold(plain)
        strategy = held(plain, model)
    with watched() as second:
        replica = compose.build_replica(config, Senses(None, None), strategy)
    assert replica is not None
    files = [load_file(path) for path in folder.glob("*.safetensors")]
    stored = {f"model.{name}": weight for file in files for name, weight in file.items()}
    found = dict(full_tensors(strategy.held["policy"].module))
    right = all(torch.equal(value, stored[name].float()) for name, value in found.items())
    copied = replica.actor.state_dict()
    right &= all(torch.equal(copied[name], value.to(torch.bfloat16)) for name, value in stored.items())
    return first.bytes, second.bytes, right and found.keys() == stored.keys()


def refused(folder: Path, critic: bool, how: dict[str, Any], bf16: bool = False) -> str:
    """What is said of a model in shards that cannot be computed in some way."""
    config = run_of(folder, bf16=bf16)
    model = loading.load_to_hold(config)
    assert all(weight.is_meta for weight in model.parameters())
    try:
        compose.held(config, {"policy": (LanguageCritic if critic else LanguageActor)(model, **how)}, {}, TorchRanks())
    except ConfigError as error:
        return str(error)
    return ""
