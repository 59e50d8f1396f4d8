"""`lightrft plan`: whether a run fits and how long a step takes, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.parse import exit_on_config_error
from lightrft_apps.config.plan_command import PROG, parse_plan


def main(argv: Sequence[str]) -> None:
    """Run `lightrft plan` with these words. Raises SystemExit with code 1 if a phase does not fit."""
    command = parse_plan(argv)
    from lightrft_apps.plan_report import show  # imports torch, which --help does not wait for
    from lightrft_apps.planning import plan_run

    with exit_on_config_error(PROG):
        plan = plan_run(command)
    show(plan, as_json=command.machine.json)
    if not plan.fits:
        raise SystemExit(1)
