"""`lightrft merge-lora`: an adapter and its model as one plain model, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.merge_lora import parse_merge


def main(argv: Sequence[str]) -> None:
    """Run `lightrft merge-lora` with these words."""
    args = parse_merge(argv)
    from lightrft_apps.converting.merging import merge_adapter  # imports torch, which --help does not wait for

    merge_adapter(args)
