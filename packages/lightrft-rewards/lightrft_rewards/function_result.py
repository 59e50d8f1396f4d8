"""What a user's function returned, checked and taken apart by sample."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from lightrft_rewards.combination import clip
from lightrft_rewards.errors import CallError
from lightrft_rewards.plain_numbers import finite, unwrapped
from lightrft_rewards.samples import Outcome

_KEYS = ("rewards", "scores", "extra_logs")


def read_result(returned: Any, count: int) -> list[Outcome]:
    """One outcome per sample.

    returned: a list or tensor of `count` rewards; or OpenRLHF's dict of "rewards", optionally "scores" (0 to 1 each,
    the accuracy) and "extra_logs" (name -> one number per sample, or one number for all).
    A number that cannot be used makes an error of its sample alone. Raises CallError if the whole does not fit.
    """
    whole = returned if isinstance(returned, Mapping) else {"rewards": returned}
    unknown = [str(key) for key in whole if key not in _KEYS]
    if unknown or "rewards" not in whole:
        found = ", ".join(map(str, whole)) or "nothing"
        raise CallError(f'it returned a dict of {found}; "rewards" is required, "scores" and "extra_logs" may be added')
    rewards = _column(whole["rewards"], "rewards" if whole is returned else "a result", count)
    scores = None if whole.get("scores") is None else _column(whole["scores"], "scores", count)
    logs = _logs(whole.get("extra_logs"), count)
    return [
        _outcome(rewards[row], None if scores is None else scores[row], {name: logs[name][row] for name in logs})
        for row in range(count)
    ]


def _column(value: Any, name: str, count: int) -> list[Any]:
    value = unwrapped(value)
    if not isinstance(value, list | tuple):
        raise CallError(f"it returned {name} of type {type(value).__name__}, not a list of {_counted(count)}")
    if len(value) != count:
        raise CallError(f"it returned {name} of length {len(value)}, not {count}, for {_counted(count, 'sample')}")
    return list(value)


def _logs(value: Any, count: int) -> dict[str, list[Any]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CallError(f"it returned extra_logs of type {type(value).__name__}, not a dict of numbers by name")
    columns: dict[str, list[Any]] = {}
    for name, entry in value.items():
        plain = unwrapped(entry)
        columns[str(name)] = (
            [plain] * count if isinstance(plain, Real) else _column(plain, f"extra_logs[{name!r}]", count)
        )
    return columns


def _outcome(reward: Any, score: Any, logs: Mapping[str, Any]) -> Outcome:
    try:
        value = _number("reward", reward)
        accuracy = clip(value) if score is None else _number("accuracy score", score)
        metrics = {name: _number(f"extra log {name!r}", number) for name, number in logs.items()}
    except ValueError as error:
        return Outcome(error=str(error))
    if not 0 <= accuracy <= 1:
        return Outcome(error=f"its accuracy score {accuracy} is not within 0 to 1")
    return Outcome(score=value, accuracy=accuracy, metrics=metrics)


def _number(what: str, value: Any) -> float:
    try:
        return finite(value)
    except ValueError as error:
        raise ValueError(f"its {what} {error}") from None


def _counted(count: int, noun: str = "number") -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
