"""The machine looked over, part by part."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from lightrft_apps.config import RanksArgs
from lightrft_apps.config.commands.doctor import DoctorArgs
from lightrft_apps.diagnosis import devices, surroundings, wire
from lightrft_apps.diagnosis.computer import computer
from lightrft_apps.diagnosis.findings import Finding, Found
from lightrft_apps.diagnosis.probe import ask
from lightrft_apps.diagnosis.versions import versions
from lightrft_apps.models.parallel import several

_AT_ONCE = 2
"""Processes that ask something side by side."""


def examine_machine(args: DoctorArgs) -> Found | None:
    """What ails this machine. Under a launcher, of which every process calls it, the first alone has an answer: of its
    own machine, and of the network between all."""
    if "RANK" not in os.environ:
        network = list(wire.among_children(args.ranks, args.patience)) if args.ranks else []
        return _found(args, network)
    with several(RanksArgs(ranks_timeout=args.patience)) as together:
        together.doing("measuring the network")
        network = list(wire.among_ranks(together.ranks)) if together.ranks.world_size > 1 else []
    return _found(args, network) if together.first else None


def _found(args: DoctorArgs, network: Sequence[Finding]) -> Found:
    packages = devices.engine_packages()
    alone = dict.fromkeys(_OF_A_LAUNCHER)
    asked = partial(ask, seconds=args.patience, environment=alone)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        torch = pool.submit(asked, devices.PROGRAM)
        sandbox = pool.submit(asked, surroundings.SANDBOX)
        imports = {name: pool.submit(asked, devices.IMPORT, module) for name, module in packages.items()}
    sections = {
        "Computer": [*computer(Path.cwd())],
        "Versions": [*versions()],
        "Devices": [*devices.devices(torch.result())],
        "Engines and other optional packages": [
            devices.imported(name, answer.result()) for name, answer in imports.items()
        ],
        "Surroundings": [
            *network,
            *surroundings.compilers(needed="deepspeed" in packages),
            *surroundings.hub(),
            surroundings.sandbox(sandbox.result()),
        ],
    }
    return Found([*_verdict(sections.values())], {title: found for title, found in sections.items() if found})


_OF_A_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def _verdict(sections: Iterable[Sequence[Finding]]) -> Iterator[Finding]:
    """What is red, or that nothing is."""
    red = [finding for found in sections for finding in found if finding.level == "bad"]
    if red:
        names = ", ".join(finding.subject for finding in red)
        yield Finding("machine", "bad", f"this machine cannot do everything: {names}, below")
    else:
        yield Finding("machine", "well", "nothing stands in the way of a run here")
