"""`lightrft launch`: one command in several processes of this machine, by PyTorch's own launcher."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

ABOUT = """\
Run a lightrft command in several processes of this machine, one for each accelerator (one where there is none), or so
many as you say:

  lightrft launch --nproc_per_node 2 rl --config run.yaml

rl, sft, srm, grm, eval-rm and the quickstart of text share their work out, and doctor tries how they talk. It is
torchrun, which works as well, on one machine or many:

  torchrun --nproc-per-node 8 -m lightrft_apps rl --config run.yaml

With --max_restarts, a run in which a process died is started again and goes on from its newest checkpoint.
examples/launch has scripts for Slurm and Ray.
"""

SHARED = ("rl", "sft", "srm", "grm", "eval-rm", "quickstart", "doctor")
"""Commands whose work several processes share; of the quick starts, that of text."""


def main(argv: Sequence[str]) -> None:
    """Run `lightrft launch` with these words."""
    parser = argparse.ArgumentParser(
        prog="lightrft launch", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--nproc_per_node", "--nproc-per-node", type=_processes, help="processes; default: one for each accelerator"
    )
    parser.add_argument(
        "--max_restarts", "--max-restarts", type=int, default=0, help="times to begin again after a process died"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="a lightrft command with its flags")
    arguments = parser.parse_args(argv)
    if not arguments.command or arguments.command[0].startswith("-"):
        parser.error("say which command to run, such as: lightrft launch --nproc_per_node 2 rl --config run.yaml")
    if alone := _alone(arguments.command):
        parser.error(
            f"{alone} knows nothing of several processes, each of which would do all of it: run it without launch "
            f"(with it: {', '.join(SHARED)})"
        )
    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    processes = arguments.nproc_per_node or max(1, torch.accelerator.device_count())
    words = ["--standalone", "--nproc-per-node", str(processes)]
    words += ["--max-restarts", str(arguments.max_restarts), "-m", "lightrft_apps", *arguments.command]
    try:
        torchrun(words)
    except ChildFailedError as error:
        sys.stderr.write(f"lightrft launch: {error}\n")
        raise SystemExit(1) from None


def _processes(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number of 1 or more")
    return number


def _alone(command: Sequence[str]) -> str:
    """What of a command cannot be shared out among processes; "" if it can."""
    if command[0] not in SHARED:
        return command[0]
    if command[0] == "quickstart":
        from lightrft_apps.config.commands.quickstart import unshared

        return unshared(command[1:])
    return ""
