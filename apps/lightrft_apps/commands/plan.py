"""`lightrft plan`: whether a run fits and how long a step takes, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.plan import PROG, parse_plan
from lightrft_apps.config.reading.parse import exit_on_config_error


def main(argv: Sequence[str]) -> None:
    """Run `lightrft plan` with these words. Raises SystemExit with code 1 if a phase does not fit."""
    command = parse_plan(argv)
    from lightrft_apps.planning.plan import plan_run
    from lightrft_apps.planning.report import show  # imports torch, which --help does not wait for

    with exit_on_config_error(PROG):
        plan = plan_run(command)
    show(plan, as_json=command.machine.json)
    if not plan.fits:
        raise SystemExit(1)
