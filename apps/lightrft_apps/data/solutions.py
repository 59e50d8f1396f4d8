"""Solutions whose steps were judged, as `lightrft srm --loss_type steps` learns from them: read, written, described."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from lightrft_apps.config import RMConfig
from lightrft_apps.data.examples import ReadExamples
from lightrft_rewards.models.passage import Contest
from lightrft_rewards.models.solutions import LoadedSolutions, Solution, SolutionKeys, load_solutions, solution_contest
from lightrft_rewards.models.writing import Writer
from lightrft_strategy.data import PromptDataError, Rejected
from lightrft_strategy.data.rejected import RowError


def read_solutions(config: RMConfig, writer: Writer) -> ReadExamples[Contest]:
    """Read all solutions. Raises PromptDataError if a source cannot be read, or none of its rows used."""
    loaded = _load(config, "train_data", config.data.train_data, config.data.train_split, config.data.max_samples)
    held, data, evaluation = LoadedSolutions(), config.data, config.evaluation
    if data.eval_data is not None:
        held = _load(config, "eval_data", data.eval_data, evaluation.eval_split, evaluation.eval_max_samples)
    sources: dict[str, list[Contest]] = {solution.source: [] for solution in loaded.solutions}
    rejected = [*loaded.rejected, *held.rejected]
    for contest in _written(loaded.solutions, writer, rejected):
        sources[contest.source].append(contest)
    held_out = _written(held.solutions, writer, rejected)
    for source, contests in sources.items():
        if not contests:
            reasons = "".join(f"\n  {item}" for item in rejected[:3])
            raise PromptDataError(
                f"{source}: not one of its solutions can be written for the model:{reasons}", rejected
            )
    every = [contest for contests in sources.values() for contest in contests]
    steps, tokens = sum(judged_steps([one], "score") for one in every), sum(one.counts["tokens"] for one in every)
    described = f"{len(every)} solutions of {steps} judged steps, {tokens} tokens; {len(held_out)} held out"
    return ReadExamples([*sources.values()], held_out, rejected, described)


def judged_steps(contests: Sequence[Contest], head: str) -> int:
    """How many steps are said to be good, or not."""
    labels = [label for contest in contests for label in contest.labels.get(head, ())]
    return sum(not isnan(label) and label != 0.5 for label in labels)


def _load(config: RMConfig, flag: str, sources: str, split: str, most: int | None) -> LoadedSolutions:
    data = config.data
    keys = SolutionKeys(
        questions=tuple(dict.fromkeys((data.prompt_key, "input"))),
        placeholder=config.scores.placeholder_token,
        separator=config.scores.step_separator,
        images=data.images_key,
        videos=data.videos_key,
        audios=data.audios_key,
    )
    root = None if data.media_root is None else Path(data.media_root).expanduser().absolute()
    try:
        return load_solutions(sources, keys=keys, split=split, max_samples=most, media_root=root)
    except PromptDataError as error:
        raise PromptDataError(str(error).replace("--prompt_data", f"--{flag}"), error.rejected) from error


def _written(solutions: Sequence[Solution], writer: Writer, rejected: list[Rejected]) -> list[Contest]:
    """As the model reads them; those that cannot be written go to `rejected`."""
    found = []
    for solution in solutions:
        try:
            found.append(solution_contest(writer, solution))
        except RowError as error:
            name, _, row = solution.uid.rpartition(":")
            shown = {"uid": solution.uid, "text": solution.text}
            rejected.append(Rejected(name, int(row) if row.isdecimal() else 0, str(error), shown))
    return found
