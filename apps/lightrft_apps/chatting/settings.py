"""How answers are drawn, shown and changed while a chat goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightrft_apps.chatting.conversation import ChatError
from lightrft_apps.config.chat import DrawnArgs
from lightrft_apps.config.checks.bounds import out_of_bounds
from lightrft_apps.config.checks.chat import CHAT_BOUNDS
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.reading.flat import from_given, given_in_python, to_flat
from lightrft_apps.config.reading.schema import fields_of, unknown
from lightrft_apps.config.reading.values import Given
from lightrft_apps.config.sampling_texts import stop_texts

_AT_START = ("micro_rollout_batch_size",)


@dataclass(frozen=True, kw_only=True)
class _Settings:
    drawn: DrawnArgs


def settings(draw: DrawnArgs) -> dict[str, Any]:
    """What can be changed, by the names of the flags."""
    return {name: value for name, value in to_flat(_Settings(drawn=draw)).items() if name not in _AT_START}


def described() -> dict[str, str]:
    """What each of them does."""
    return {name: field.doc for name, field in fields_of(_Settings).items() if name not in _AT_START}


def changed(draw: DrawnArgs, name: str, text: str) -> DrawnArgs:
    """With one of them set to what somebody wrote, as behind a flag. Raises ChatError if it cannot be that."""
    known = settings(draw)
    if name not in known:
        raise ChatError(f"there is no setting {unknown(name, known)}: there are {', '.join(known)}")
    given = [
        *given_in_python(_Settings, to_flat(_Settings(drawn=draw))),
        Given(name, text, f"{name} {text}", from_command_line=True),
    ]
    try:
        drawn = from_given(_Settings, given).drawn
        problems = list(_problems(drawn))
    except ConfigError as error:
        problems = list(error.problems)
    if problems:
        raise ChatError("; ".join(problem.removeprefix("--") for problem in problems))
    return drawn


def _problems(drawn: DrawnArgs) -> Iterator[str]:
    flat: Mapping[str, Any] = to_flat(_Settings(drawn=drawn))
    yield from out_of_bounds(flat, CHAT_BOUNDS)
    stop_texts(drawn.stop)
    if drawn.generate_min_len > drawn.generate_max_len:
        yield f"generate_min_len {drawn.generate_min_len} is more than generate_max_len {drawn.generate_max_len}"
    for token in drawn.logit_bias or {}:
        if not token.isdecimal():
            yield f"logit_bias {token!r}: name a token by its id, a whole number of 0 or more"
