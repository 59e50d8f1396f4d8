"""`lightrft reward`: what can be asked of a run's rewards afterwards, from the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lightrft_apps.config.commands.replay import parse_replay

_USAGE = "usage: lightrft reward replay RUN [--flag value ...]\n\nlightrft reward replay --help shows its flags.\n"


def main(argv: Sequence[str]) -> None:
    """Run `lightrft reward` with these words."""
    words = list(argv) or ["--help"]
    if words[0] not in ("replay", "-h", "--help"):
        sys.stderr.write(f"lightrft reward: there is no {words[0]!r}\n\n{_USAGE}")
        raise SystemExit(2)
    command = parse_replay(words[words[0] == "replay" :])
    from lightrft_apps.rewards.replaying import replay  # imports torch, which --help does not wait for

    replay(command)
