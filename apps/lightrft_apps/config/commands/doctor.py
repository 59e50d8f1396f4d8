"""The configuration and command line of `lightrft doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightrft_apps.config.checks.bounds import ABOVE_ZERO, ZERO_OR_MORE, out_of_bounds
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.leading import named
from lightrft_apps.config.reading.parse import exit_on_config_error, parse

PROG = "lightrft doctor"
ABOUT = """\
Say what ails this machine, or a run.

Without a run: Python, memory, disk, the versions of what is installed and whether they fit, devices, engines,
compilers, the network between processes, the model hub and the sandbox. With a run's folder, live or dead: which
process waits for which and since when, and the stack of what is stuck, asked of the processes of this machine by a
signal that disturbs nothing; phases that take longer than they did; disk, checkpoints, rejected rows and signs in its
metrics.

Green is well, yellow may matter, red will not work; what is red ends the command with exit code 1.

examples:
  lightrft doctor
  lightrft doctor runs/first
  lightrft launch --nproc_per_node 2 doctor
  torchrun --nnodes 2 --nproc-per-node 8 --rdzv-endpoint HOST:29500 -m lightrft_apps doctor"""


@dataclass(frozen=True)
class DoctorArgs:
    """The examination"""

    run: str | None = None
    """a run's folder; may stand first, without its flag; default: examine the machine"""
    json: bool = False
    """print JSON instead of lines for people"""
    ranks: int = 2
    """processes of this machine that talk to each other for a test; 0: none; under a launcher, its processes do"""
    patience: float = 120.0
    """seconds that an import, or another test in a process of its own, may take"""
    checksums: bool = False
    """with a run: read every byte of its checkpoints; default: the files' sizes"""


@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Everything `lightrft doctor` is told."""

    doctor: DoctorArgs


def parse_doctor(argv: Sequence[str]) -> DoctorArgs:
    """The checked arguments. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error(PROG):
        command = parse(DoctorCommand, named(argv, "run"), prog=PROG, about=ABOUT)
        args = command.doctor
        problems = [*out_of_bounds(to_flat(command), {"ranks": ZERO_OR_MORE, "patience": ABOVE_ZERO})]
        if args.run is None and args.checksums:
            problems.append("--checksums has no effect: name a run, or leave --checksums out")
        if args.run is not None and not (Path(args.run).expanduser() / "config.yaml").is_file():
            problems.append(f"--run {args.run}: there is no run (config.yaml) in this folder")
        if problems:
            raise ConfigError(problems)
        return args
