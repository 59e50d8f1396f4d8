"""What judges that write had to say, as it is kept beside their judgements."""

from __future__ import annotations

from collections.abc import Iterable

from lightrft_rewards.explain import writable

LIMIT = 4000
"""Letters of a note."""


def note_of(written: Iterable[str]) -> str:
    """All that was written, with an empty line between two judgements; beyond LIMIT letters it ends in an ellipsis."""
    note = writable("\n\n".join(text for text in map(str.strip, written) if text))
    return note if len(note) <= LIMIT else note[: LIMIT - 1] + "…"
