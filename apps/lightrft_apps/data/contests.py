"""Comparisons, as `lightrft srm` learns from them: read, written as the model reads them, described."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

from lightrft_apps.config import PreferenceArgs, RMConfig, heads_of, shares_of
from lightrft_apps.config.commands.eval_rm import ComparisonsArgs
from lightrft_apps.data.examples import ReadExamples, RunExamples, in_order
from lightrft_apps.data.solutions import read_solutions
from lightrft_apps.models.senses import Senses
from lightrft_rewards.models.contest_losses import LossOptions
from lightrft_rewards.models.judges.asking import rejected as unusable
from lightrft_rewards.models.passage import Contest
from lightrft_rewards.models.writing import Writer
from lightrft_rewards.preferences import Comparison, LoadedComparisons, PreferenceKeys, load_comparisons
from lightrft_strategy.data import PromptDataError, Rejected
from lightrft_strategy.data.rejected import RowError

KEYS = ("prompt", "chosen", "rejected", "images", "videos", "audios")


def read_contests(config: RMConfig, loss: LossOptions, senses: Senses, rejected: Path | None) -> RunExamples[Contest]:
    """Read all comparisons; rows that cannot be used go to the file `rejected`, or nowhere. Raises PromptDataError."""
    data = config.data
    writer = Writer(
        senses.tokenizer,
        senses.encoder,
        apply_chat_template=data.apply_chat_template,
        max_len=data.max_len,
        media_urls=data.media_urls,
    )
    steps = config.scores.loss_type == "steps"
    read = partial(read_solutions, config, writer) if steps else partial(_read, config, loss, writer)
    return in_order(config, read, shares_of(data), _content, rejected)


def plain_keys(data: PreferenceArgs | ComparisonsArgs) -> PreferenceKeys:
    """The columns of plain rows, as flags name them."""
    return PreferenceKeys(**{name: getattr(data, f"{name}_key") for name in KEYS})


def decided(contests: Sequence[Contest], head: str) -> int:
    """How many contests say of two answers which one is better."""
    return sum(len(set(contest.labels.get(head, ()))) > 1 for contest in contests)


def _read(config: RMConfig, loss: LossOptions, writer: Writer) -> ReadExamples[Contest]:
    data, evaluation, heads = config.data, config.evaluation, heads_of(config.scores)
    load = partial(
        load_comparisons,
        seed=config.run.seed,
        heads=heads,
        keys=plain_keys(data),
        media_root=None if data.media_root is None else Path(data.media_root).expanduser().absolute(),
    )
    loaded = load(data.train_data, split=data.train_split, max_samples=data.max_samples, flag="--train_data")
    held = LoadedComparisons()
    if data.eval_data is not None:
        most = evaluation.eval_max_samples
        held = load(data.eval_data, split=evaluation.eval_split, max_samples=most, flag="--eval_data")
    sources, unwritten = written(loaded.comparisons, writer)
    kept, of_held_out = written(held.comparisons, writer)
    held_out = [contest for contests in kept.values() for contest in contests]
    rejected = [*loaded.rejected, *unwritten, *held.rejected, *of_held_out]
    taught = {
        source: [contest for contest in contests if any(map(loss.teaches, contest.labels.values()))]
        for source, contests in sources.items()
    }
    for source, contests in taught.items():
        if not contests:
            raise PromptDataError(_nothing_learnt(config, source, sources[source], rejected), rejected)
    silent = sum(map(len, sources.values())) - sum(map(len, taught.values()))
    notes = [f"{silent} comparisons are left out, for {_teaches_nothing(config)}"] if silent else []
    return ReadExamples([*taught.values()], held_out, rejected, _described(taught, held_out, heads), notes)


def written(comparisons: Sequence[Comparison], writer: Writer) -> tuple[dict[str, list[Contest]], list[Rejected]]:
    """By source, in the order of the flag, comparisons as the model reads them; and those that cannot be written."""
    sources: dict[str, list[Contest]] = {comparison.source: [] for comparison in comparisons}
    rejected = []
    for comparison in comparisons:
        try:
            sources[comparison.source].append(writer.contest(comparison))
        except RowError as error:
            rejected.append(unusable(comparison, str(error)))
    return sources, rejected


def _described(sources: Mapping[str, Sequence[Contest]], held_out: Sequence[Contest], heads: Sequence[str]) -> str:
    contests = [contest for source in sources.values() for contest in source]
    answers, tokens = (sum(contest.counts[name] for contest in contests) for name in ("answers", "tokens"))
    by_head = ", ".join(f"{decided(contests, head)} decided by {head}" for head in heads)
    return f"{len(contests)} comparisons of {answers} answers, {tokens} tokens: {by_head}; {len(held_out)} held out"


def _nothing_learnt(config: RMConfig, source: str, read: Sequence[Contest], rejected: Sequence[Rejected]) -> str:
    if read:
        return f"{source}: nothing can be learnt from it, for {_teaches_nothing(config)}"
    reasons = "".join(f"\n  {item}" for item in rejected[:3])
    return f"{source}: not one of its comparisons can be written for the model; the first:{reasons}"


def _teaches_nothing(config: RMConfig) -> str:
    return (
        f"--loss_type {config.scores.loss_type} learns nothing from their labels (equal ones are learnt by davidson, "
        "rao_kupper and hps, those of a single answer by regression)"
    )


def _content(contest: Contest) -> bytes:
    """What tells answers to a question from others, in a few bytes, in whatever order they stand."""
    passages = []
    for passage in contest.passages:
        content = sha256(array("i", passage.token_ids).tobytes())
        for media in passage.media:
            content.update(media.sha256.encode())
        passages.append(content.digest())
    return b"".join(sorted(passages))
