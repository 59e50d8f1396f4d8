"""`lightrft serve-reward`: rules, a function or reward models over HTTP, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.serve_reward import parse_serve
from lightrft_apps.rewards.serving import serve


def main(argv: Sequence[str]) -> None:
    """Run `lightrft serve-reward` with these words."""
    serve(parse_serve(argv))
