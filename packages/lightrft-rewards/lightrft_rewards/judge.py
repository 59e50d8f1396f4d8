"""The rewards of a training run: LightRFT core's Reward protocol over any Scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from lightrft_core.types import Group, Rollout, Verdict
from lightrft_rewards.errors import RewardFailure
from lightrft_rewards.journal import Entry, Journal, group_key
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.scorer import Scorer

_ERRORS_SHOWN = 3


class Judge:
    """Judges groups of rollouts by a Scorer: rules, a user's function, reward models, or a panel of them.

    An answer that cannot be judged has a verdict with an error, or one that is marked as timed out; never a zero.
    """

    def __init__(self, scorer: Scorer, *, max_error_share: float = 0.5, journal: Path | None = None) -> None:
        """scorer: closed with the judge.

        max_error_share: the share, 0 to 1, of a step's samples so far that may fail to be judged.
        journal: a file of this process alone, which makes a resumed run's verdicts those of the run before; see
        lightrft_rewards.journal.
        Raises ValueError for a number out of range or a broken journal; the scorer is closed then.
        """
        self._scorer, self.max_error_share = scorer, max_error_share
        self._failures: dict[int, tuple[int, int, int]] = {}
        try:
            if not 0 <= max_error_share <= 1:
                raise ValueError(f"max_error_share is a share of the samples, 0 to 1; it is {max_error_share}")
            self._journal = None if journal is None else Journal(journal)
        except ValueError:
            scorer.close()
            raise
        self._fingerprint = scorer.fingerprint()

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        """One verdict per rollout, nested as the groups are; in the journal, if there is one, before it returns.

        Raises RewardFailure if more than max_error_share of the samples have an error or timed out (nothing of such a
        call is put in the journal, so that it is judged anew after a repair), RewardSetupError if the reward ceases to
        load.
        """
        calls = [[_sample(group, rollout) for rollout in group.rollouts] for group in groups]
        keys = [
            group_key(self._fingerprint, step, group.prompt.uid, group.prompt.occurrence, samples)
            for group, samples in zip(groups, calls, strict=True)
        ]
        known = self._journal.recall(step) if self._journal else {}
        new = [place for place, key in enumerate(keys) if key not in known]
        judged = dict(zip(new, self._scorer.score([calls[place] for place in new]), strict=True))
        outcomes = [judged[place] if place in judged else known[key] for place, key in enumerate(keys)]
        self._check_failures(calls, outcomes, step)
        if self._journal:
            self._journal.add([_entry(groups[place], step, keys[place], judged[place]) for place in new])
        return [[_verdict(outcome) for outcome in group] for group in outcomes]

    def close(self) -> None:
        """Close the scorer; can be called again."""
        self._scorer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_failures(self, calls: list[list[Sample]], outcomes: list[list[Outcome]], step: int) -> None:
        pairs = [
            pair
            for samples, judged in zip(calls, outcomes, strict=True)
            for pair in zip(samples, judged, strict=True)
            if pair[1].score is None
        ]
        now = sum(len(samples) for samples in calls), len(pairs), sum(outcome.timed_out for _, outcome in pairs)
        before = self._failures.get(step, (0, 0, 0))
        total, failed, num_timed_out = (old + new for old, new in zip(before, now, strict=True))
        self._failures = {step: (total, failed, num_timed_out)}
        if not pairs or failed <= self.max_error_share * total:
            return
        shown = "".join(f"\n  {self._describe(sample, outcome)}" for sample, outcome in pairs[:_ERRORS_SHOWN])
        raise RewardFailure(
            f"step {step}: {failed} of {total} samples could not be judged ({failed - num_timed_out} errors, "
            f"{num_timed_out} time-outs), a larger share than --max_reward_error_share {self.max_error_share:g}. "
            f"The first of them:{shown}"
        )

    def _describe(self, sample: Sample, outcome: Outcome) -> str:
        if not outcome.timed_out:
            return outcome.error
        return f"{self._scorer.describe(sample)}: not done in time"


def _sample(group: Group, rollout: Rollout) -> Sample:
    prompt = group.prompt
    return Sample(
        response=rollout.text,
        label=prompt.label,
        prompt=prompt.text,
        route=prompt.route,
        name=f"{prompt.uid}, sample {rollout.sample}",
        messages=tuple(asdict(message) for message in prompt.messages),
        media=prompt.media,
    )


def _entry(group: Group, step: int, key: str, outcomes: Sequence[Outcome]) -> Entry:
    numbers = [rollout.sample for rollout in group.rollouts]
    return Entry(step, group.prompt.uid, group.prompt.occurrence, key, numbers, outcomes)


def _verdict(outcome: Outcome) -> Verdict:
    return Verdict(**{item.name: getattr(outcome, item.name) for item in fields(outcome)})
