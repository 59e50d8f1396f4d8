"""Judgements, as `lightrft grm` learns them: comparisons read, written as questions with their answers, described."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lightrft_apps.config import GRMConfig, shares_of
from lightrft_apps.data.contests import plain_keys
from lightrft_apps.data.examples import ReadExamples, RunExamples, in_order
from lightrft_apps.data.given_answers import content_of
from lightrft_core import Example
from lightrft_rewards.models.judges import JudgeWriter, questions_of
from lightrft_rewards.models.judges.asking import rejected as cannot_be_asked
from lightrft_rewards.preferences import Comparison, LoadedComparisons, load_comparisons
from lightrft_strategy.data import PromptDataError, Rejected
from lightrft_strategy.data.rejected import RowError


def read_judgements(
    config: GRMConfig, writer: JudgeWriter, rejected: Path | None
) -> tuple[RunExamples[Example], list[Comparison]]:
    """All that is learnt and looked at, and the comparisons held out; rows that cannot be used go to the file
    `rejected`, or nowhere. Raises PromptDataError."""
    held_out = LoadedComparisons()

    def read() -> ReadExamples[Example]:
        loaded = comparisons(config)
        if config.data.eval_data is not None:
            looked_at = comparisons(config, held_out=True)
            held_out.comparisons.extend(looked_at.comparisons)
            held_out.rejected.extend(looked_at.rejected)
        return _written(config, writer, loaded, held_out)

    return in_order(config, read, shares_of(config.data), content_of, rejected), held_out.comparisons


def comparisons(config: GRMConfig, *, held_out: bool = False) -> LoadedComparisons:
    """What --train_data names, or --eval_data. Raises PromptDataError."""
    data, evaluation = config.data, config.evaluation
    load = partial(
        load_comparisons,
        seed=config.run.seed,
        keys=plain_keys(data),
        media_root=None if data.media_root is None else Path(data.media_root).expanduser().absolute(),
    )
    if held_out:
        most = evaluation.eval_max_samples
        return load(data.eval_data or "", split=evaluation.eval_split, max_samples=most, flag="--eval_data")
    return load(data.train_data, split=data.train_split, max_samples=data.max_samples, flag="--train_data")


def _written(
    config: GRMConfig, writer: JudgeWriter, loaded: LoadedComparisons, held_out: LoadedComparisons
) -> ReadExamples[Example]:
    both = config.judge.both_orders and not writer.form.reasoning
    rejected = [*loaded.rejected, *held_out.rejected]
    sources: dict[str, list[Example]] = {}
    for comparison in loaded.comparisons:
        sources.setdefault(comparison.source, []).extend(_examples(comparison, writer, rejected, both_orders=both))
    for source, examples in sources.items():
        if not examples:
            reasons = "".join(f"\n  {item}" for item in rejected[:3])
            raise PromptDataError(f"{source}: nothing of it can be asked; the first reasons:{reasons}", rejected)
    kept = [each for one in held_out.comparisons for each in _examples(one, writer, rejected, learnt=False)]
    every = [example for examples in sources.values() for example in examples]
    learnt = sum(example.counts["loss_tokens"] for example in every)
    described = (
        f"{len(every)} questions about {len(loaded.comparisons)} comparisons, "
        f"{sum(example.counts['tokens'] for example in every)} tokens, {learnt} of them learnt; "
        f"{len(held_out.comparisons)} comparisons held out"
    )
    return ReadExamples([*sources.values()], kept, rejected, described)


def _examples(
    comparison: Comparison,
    writer: JudgeWriter,
    rejected: list[Rejected],
    *,
    both_orders: bool = False,
    learnt: bool = True,
) -> Sequence[Example]:
    """What is learnt of a comparison; why not, if nothing is, goes to `rejected`.

    learnt: that each of its questions has to be; else those are left out that nobody wrote a judgement for.
    """
    try:
        questions = questions_of(comparison, writer.form, both_orders=both_orders)
        return [writer.example(question) for question in questions if learnt or question.target]
    except RowError as error:
        rejected.append(cannot_be_asked(comparison, str(error)))
        return []
