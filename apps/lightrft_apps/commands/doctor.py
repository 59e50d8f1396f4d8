"""`lightrft doctor`: what ails this machine or a run, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightrft_apps.config.commands.doctor import parse_doctor


def main(argv: Sequence[str]) -> None:
    """Run `lightrft doctor` with these words. Raises SystemExit with code 1 if something will not work."""
    args = parse_doctor(argv)
    from lightrft_apps.diagnosis.findings import show  # what follows imports torch, which --help does not wait for

    if args.run is None:
        from lightrft_apps.diagnosis.checkup import examine_machine

        found = examine_machine(args)
    else:
        from lightrft_apps.diagnosis.examination import examine_run

        found = examine_run(Path(args.run).expanduser(), checksums=args.checksums)
    if found is not None:
        show(found, as_json=args.json)
        if not found.well:
            raise SystemExit(1)
