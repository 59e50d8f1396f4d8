"""From comparisons to what a generative judge says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from lightrft_apps.evaluating.reward_models.answers import lengths_of, refusals_of, safe_of
from lightrft_core import Engine
from lightrft_rewards.evaluation import JudgedComparison
from lightrft_rewards.models.judges import JudgeWriter, judge_comparisons
from lightrft_rewards.preferences import Comparison

TOGETHER = 32
"""Comparisons that are asked about at a time."""


def judged_by_asking(
    engine: Engine,
    writer: JudgeWriter,
    comparisons: Sequence[Comparison],
    heads: Mapping[str, str],
    advance: Callable[[int], None],
) -> list[JudgedComparison]:
    """Every two answers (of a judge that grades, all answers) of each comparison, in both orders and in every head that
    has a label there. What cannot be asked about has an error. heads: label -> head. advance: as for judged_by.
    """
    judged: list[JudgedComparison] = []
    writers = {label: _about(writer, head) for label, head in heads.items()}
    for start in range(0, len(comparisons), TOGETHER):
        part = comparisons[start : start + TOGETHER]
        for label, head in heads.items():
            judged += _asked(engine, writers[label], [one for one in part if label in one.labels], label, head)
        advance(len(part))
    return judged


def _about(writer: JudgeWriter, head: str) -> JudgeWriter:
    """One that asks about one head alone."""
    return JudgeWriter(
        writer.tokenizer,
        writer.encoder,
        replace(writer.form, heads=(head,)),
        max_len_flag=writer.max_len_flag,
        media_urls=writer.media_urls,
        media_limits=writer.media_limits,
    )


def _asked(
    engine: Engine, writer: JudgeWriter, comparisons: Sequence[Comparison], label: str, head: str
) -> Iterator[JudgedComparison]:
    found = judge_comparisons(engine, writer, [replace(one, labels={head: one.labels[label]}) for one in comparisons])
    by_uid = {one.uid: one for one in comparisons}
    for judged in found.judged:
        known = by_uid.get(judged.uid)
        if known is None:
            yield replace(judged, head=label)
        else:
            yield replace(judged, head=label, refuses=refusals_of(known), safe=safe_of(known))
    for rejected in found.rejected:
        whole = by_uid[rejected.content["uid"]]
        yield JudgedComparison(
            whole.uid, label, whole.labels[label], (), whole.source, lengths=lengths_of(whole), error=rejected.reason
        )
