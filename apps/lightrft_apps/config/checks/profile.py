"""Which steps of a run are profiled."""

from __future__ import annotations

from collections.abc import Iterator

from lightrft_apps.config.learning import LearningConfig

MOST_STEPS = 10
"""A trace takes tens of megabytes a step, and one step is much like another."""


def profiled_steps(text: str | None) -> range:
    """The steps that `A-B`, or `A` alone, names; None: no step. Raises ValueError, saying how to write them."""
    if text is None:
        return range(0)
    first, dash, last = text.partition("-")
    numbers = [first, last if dash else first]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise ValueError("set it to the first and the last step with a dash between them, such as 3-4, or to one step")
    start, end = map(int, numbers)
    if not 1 <= start <= end:
        raise ValueError("steps count from 1, and the first may not come after the last: set it to such as 3-4")
    if end - start >= MOST_STEPS:
        raise ValueError(f"set it to {MOST_STEPS} steps or fewer: each writes a trace of tens of megabytes or more")
    return range(start, end + 1)


def profile_problems(config: LearningConfig) -> Iterator[str]:
    """What to change about --profile_steps, as far as it can be said before the prompts are read."""
    text, last = config.run.profile_steps, config.train.max_steps
    try:
        steps = profiled_steps(text)
    except ValueError as error:
        yield f"--profile_steps {text}: {error}"
        return
    if last is not None:
        yield from beyond(text, steps, last)


def beyond(text: str | None, steps: range, last: int) -> Iterator[str]:
    """What to change if a run of so many steps does not have all of these."""
    if steps and steps[-1] > last:
        yield f"--profile_steps {text}: the run has {last} steps: set it to some of those"
