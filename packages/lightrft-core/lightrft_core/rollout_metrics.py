"""What a batch of judged rollouts says about the run: rewards, lengths, pass rates, failures."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev

from lightrft_core.metrics import Metrics
from lightrft_core.tripwires import length_correlation, unearned
from lightrft_core.types import FinishReason, Group, Rollout, Verdict


def verdict(rollout: Rollout) -> Verdict:
    """The rollout's verdict. Raises ValueError if it has not been judged."""
    if rollout.verdict is None:
        raise ValueError(f"sample {rollout.sample} has not been judged yet")
    return rollout.verdict


def correct(rollout: Rollout) -> bool:
    """Whether a judged rollout counts as right: accuracy above one half."""
    accuracy = verdict(rollout).accuracy
    return accuracy is not None and accuracy > 0.5


def rollout_metrics(groups: Sequence[Group], *, kept: int | None = None) -> Metrics:
    """Means and maxima over judged groups, of which so many are learnt from; the manual (metrics.md) explains names."""
    metrics = Metrics()
    metrics.mean("group/kept_share", [1.0 if kept is None else kept / max(1, len(groups))])
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    judged = [rollout for rollout in rollouts if verdict(rollout).score is not None]
    scores = [float(verdict(rollout).score or 0.0) for rollout in judged]
    metrics.mean("reward/mean", scores)
    metrics.mean("reward/square_mean", [score**2 for score in scores])
    metrics.mean("reward/error_share", [bool(verdict(rollout).error) for rollout in rollouts])
    metrics.mean("reward/timeout_share", [verdict(rollout).timed_out for rollout in rollouts])
    for rollout in judged:
        for name, value in verdict(rollout).parts.items():
            metrics.mean(f"reward/part/{name}", [value])
    for rollout in rollouts:
        for name, value in verdict(rollout).metrics.items():
            metrics.mean(f"reward/extra/{name}", [value])

    correlation = length_correlation(groups)
    metrics.mean("reward/length_correlation", [] if correlation is None else [correlation])
    metrics.mean("reward/unearned_share", unearned(groups))

    lengths = [float(len(rollout.token_ids)) for rollout in rollouts]
    metrics.mean("rollout/length_mean", lengths)
    metrics.max("rollout/length_max", lengths)
    metrics.mean("rollout/length_correct", [float(len(r.token_ids)) for r in judged if correct(r)])
    metrics.mean("rollout/length_wrong", [float(len(r.token_ids)) for r in judged if not correct(r)])
    metrics.mean("rollout/truncated_share", [r.finish_reason is FinishReason.LENGTH for r in rollouts])
    metrics.mean("rollout/entropy_estimate", [-logprob for rollout in rollouts for logprob in rollout.logprobs])

    for group in groups:
        for name, spread in _spreads(group).items():
            metrics.mean(f"reward/spread/{name}", [spread])
        known = [rollout for rollout in group.rollouts if verdict(rollout).score is not None]
        if known:
            pass_rate = sum(map(correct, known)) / len(known)
            metrics.mean("group/pass_rate", [pass_rate])
            metrics.mean("group/all_correct_share", [pass_rate == 1])
            metrics.mean("group/all_wrong_share", [pass_rate == 0])
        differ = len({verdict(rollout).score for rollout in known}) > 1
        learnt_from = any(rollout.advantage for rollout in group.rollouts)
        metrics.mean("group/zero_signal_share", [bool(known) and not differ and not learnt_from])
    return metrics


def _spreads(group: Group) -> dict[str, float]:
    """The standard deviation (unbiased) of each part over those answers of a group, two or more, that have it."""
    parts: dict[str, list[float]] = {}
    for rollout in group.rollouts:
        for name, value in verdict(rollout).parts.items():
            parts.setdefault(name, []).append(value)
    return {name: stdev(values) for name, values in parts.items() if len(values) > 1}
