"""What an engine of another project must be able to do for us: tokens in, tokens out, weights in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from lightrft_core import SamplingParams
from lightrft_strategy.engines.sync.published import Published
from lightrft_strategy.engines.sync.receipt import Received

Part: TypeAlias = Literal["weights", "cache"]
"""What an engine gives back when it sleeps and takes again when it wakes: weights first, keys and values last."""


class EngineDied(RuntimeError):
    """The engine's process is gone. The message says how it ended and shows the end of its log."""


class EngineRefused(RuntimeError):
    """An engine that is there will not do what it is asked. The message says what to do about it."""


class EngineTimeout(TimeoutError):
    """The engine, or the other side of a hand-over, did not answer in time. The message names what was waited for."""


@dataclass(frozen=True)
class Request:
    """One answer to draw.

    token_ids: the prompt; media in it are not expanded. law: how to draw, one answer, without a first token or samples
    of their own. seed: of the answer's randomness, from 0 to below 2**63.
    media: by modality, in reading order, decoded as in EngineMedia; hashes: theirs, likewise.
    """

    token_ids: tuple[int, ...]
    law: SamplingParams
    seed: int
    media: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])
    hashes: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])


@dataclass(frozen=True)
class Completion:
    """One answer.

    token_ids: [time] its end token included. logprobs: [time] under the law drawn from; for a greedy one, at
    temperature 1. stopped: it ended by a token or a text, not because its budget ran out.
    error: why there is no answer, "" if there is one.
    prompt_ids: the prompt as the engine read it, its media expanded; prompt_tokens: how many that are. None where it
    does not say.
    """

    token_ids: list[int]
    logprobs: list[float]
    stopped: bool
    error: str = ""
    prompt_ids: Sequence[int] | None = None
    prompt_tokens: int | None = None


class Backend(Protocol):
    """A sampling engine: in this process, or a server.

    name: as --engine_type calls it. cannot: fields of SamplingParams it cannot honour, and why.
    survives: whether a dead engine can be started again by `restart`.
    """

    name: str
    cannot: Mapping[str, str]
    survives: bool

    def complete(self, requests: Sequence[Request], done: Callable[[int, Completion], None]) -> None:
        """Answer all requests side by side, calling done(index, completion) once for each, in any order.

        A request that cannot be answered completes with an error; the others go on. Raises EngineDied or EngineTimeout.
        """
        ...

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """Log-probability at temperature 1 of each token but the first, given those before it."""
        ...

    def receive(self, version: int, tensors: Iterable[Published]) -> list[Received]:
        """Take these weights, forget cached keys and values, and say what arrived, one answer per worker.

        Raises EngineTimeout if a worker does not answer, EngineDied if it is gone.
        """
        ...

    def sleep(self) -> None:
        """Give back the memory of weights and cache, as far as the device can."""
        ...

    def wake(self, part: Part) -> None:
        """Take back the memory of one part."""
        ...

    def restart(self) -> None:
        """Start a dead engine again; it has no weights to speak of until the next `receive`."""
        ...

    def close(self) -> None:
        """End the engine and its processes."""
        ...
