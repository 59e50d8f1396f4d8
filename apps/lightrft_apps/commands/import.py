"""`lightrft import`: another trainer's checkpoint as a Hugging Face folder, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.importing import parse_import


def main(argv: Sequence[str]) -> None:
    """Run `lightrft import` with these words."""
    args = parse_import(argv)
    from lightrft_apps.converting.importing import import_checkpoint  # imports torch, which --help does not wait for

    import_checkpoint(args)
