"""`lightrft chat`: a conversation with a model, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lightrft_apps.config.commands.chat import parse_chat


def main(argv: Sequence[str]) -> None:
    """Run `lightrft chat` with these words."""
    command = parse_chat(argv)
    from lightrft_apps.chatting import chat  # imports torch, which --help does not wait for

    chat(command)
