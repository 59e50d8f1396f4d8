"""`lightrft export`: a checkpoint as a Hugging Face folder, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.export import parse_export


def main(argv: Sequence[str]) -> None:
    """Run `lightrft export` with these words."""
    args = parse_export(argv)
    from lightrft_apps.converting.exporting import export_checkpoint  # imports torch, which --help does not wait for

    export_checkpoint(args)
