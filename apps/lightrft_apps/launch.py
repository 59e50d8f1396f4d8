"""`lightrft launch`: one command in several processes of this machine, by PyTorch's own launcher."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

ABOUT = """\
Run a lightrft command in several processes of this machine, one for each accelerator, or so many as you say:

  lightrft launch --nproc_per_node 2 rl --config run.yaml

It is torchrun, which works as well, on one machine or many:

  torchrun --nproc-per-node 8 -m lightrft_apps rl --config run.yaml

With --max_restarts, a run in which a process died is started again and goes on from its newest checkpoint.
examples/launch has scripts for Slurm and Ray.
"""


def main(argv: Sequence[str]) -> None:
    """Run `lightrft launch` with these words."""
    parser = argparse.ArgumentParser(
        prog="lightrft launch", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--nproc_per_node", "--nproc-per-node", default="auto", help="processes; default: one for each accelerator"
    )
    parser.add_argument(
        "--max_restarts", "--max-restarts", type=int, default=0, help="times to begin again after a process died"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="a lightrft command with its flags")
    arguments = parser.parse_args(argv)
    if not arguments.command or arguments.command[0].startswith("-"):
        parser.error("say which command to run, such as: lightrft launch --nproc_per_node 2 rl --config run.yaml")
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    words = ["--standalone", "--nproc-per-node", arguments.nproc_per_node]
    words += ["--max-restarts", str(arguments.max_restarts), "-m", "lightrft_apps", *arguments.command]
    try:
        torchrun(words)
    except ChildFailedError as error:
        sys.stderr.write(f"lightrft launch: {error}\n")
        raise SystemExit(1) from None
